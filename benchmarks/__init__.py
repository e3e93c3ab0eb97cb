"""One benchmark a question: `python -m benchmarks` asks all, `python -m benchmarks.cwt` one.

Every figure is a ratio, or a difference, of two sides that are measured in turn in one process or
in one series of processes: A B A B ... A machine that slows down slows down both.

| module | the question |
|---|---|
| `cwt` | the Morlet front-end against a strided convolution with the same kernels |
| `cwt_width` | the same with a trainable width, forward and backward |
| `cqt` | the constant-Q front-end against nnAudio's layer |
| `preparation` | a batch's waveform transforms against scipy and numpy, a sample at a time |
| `simulating` | endless injections against samples from files |
| `reading` | shuffled batches from the cache against single files |
| `training_step` | whole steps of the trainer against the bare network and optimiser |
| `mixed_precision` | a step of a network in bf16 or fp16 against float32 |
| `tta` | inference with test-time views against without |
| `startup` | the first batch with a 25 GiB cache against without a cache |
| `command_line` | `train.py --help` and `--list` against importing torch |
| `profile_step` | where the time of one training step goes |
| `growth` | how cost grows with scales, stride, batch size, workers; draws docs/performance-* |

Not of cost but of worth: `detection` measures detectors beside the best that there can be, on one
simulated hold-out (`detection_*`).

Beside them: `measuring` (clocks and spreads), `machine` (what the figures were measured on and
who else was using it), `rows` (a figure, its target, its place in the table), `results` (the
files), `command` (the command line they share), `random_data` (caches and tables), `stepping` (the
trainer's steps under a clock), `page` (the tables in docs/performance.md).
"""

import utils  # noqa: F401 - before torch: it decides how waiting threads wait

# What `python -m benchmarks` runs, in this order; the rows of the table keep it.
BENCHMARKS = (
    "cwt",
    "cwt_width",
    "cqt",
    "preparation",
    "simulating",
    "reading",
    "training_step",
    "mixed_precision",
    "tta",
    "startup",
    "command_line",
    "profile_step",
)
