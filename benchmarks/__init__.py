"""What the parts of the toolkit cost, and how well they detect.

A benchmark answers one question and lies where the code it measures lies: benchmarks/spectrograms/
measures spectrograms/. `python -m benchmarks` runs all of them, `python -m benchmarks cwt tta` two,
and `python -m benchmarks.spectrograms.cwt` one without recording it. Every figure is a ratio, or a
difference, of two sides that are timed in turn in one process (or in one series of processes):
A B A B ... A machine that slows down slows down both.

| name | module | the question |
|---|---|---|
| `cwt` | spectrograms/ | the Morlet front-end against a strided convolution with the same kernels |
| `cwt_width` | spectrograms/ | the same with a trainable width, forward and backward |
| `matched_filter` | models1d/ | a training step of matched filters against the plain formula |
| `grouped_convolution` | models1d/ | other forms of Seq03aug3's convolutions against torch's own |
| `cqt` | spectrograms/ | the constant-Q front-end against nnAudio's layer |
| `preparation` | signal_transforms/ | a batch on the device against scipy, a sample at a time |
| `simulating` | simulation/ | injections drawn on the fly against samples from files |
| `training_noise` | simulation/ | other noise and other populations against Gaussian noise |
| `continuous_strain` | simulation/ | hours of strain in files against one whole-series FFT |
| `engine` | search/ | whole stretches of strain through a filter bank against windows |
| `reading` | data/ | shuffled batches from the cache against single files |
| `training_step` | training/ | whole steps of the trainer against the bare network and optimiser |
| `mixed_precision` | training/ | a step of a network in bf16 or fp16 against float32 |
| `tta` | experiments/ | inference with test-time views against without |
| `export` | experiments/ | ONNX against torch: differences in logits, size, samples a second |
| `startup` | data/ | the first batch with a 25 GiB cache against without a cache |
| `first_step` | training/ | from the command to the end of the first step against the imports |
| `command_line` | runtime/ | `train.py --help` and `--list` against importing torch |
| `profile_step` | training/ | where the time of one training step goes |
| `growth` | training/ | how cost grows with scales, stride, batch size and reader processes |
| `full_size` | training/ | every command of a project, up to the competition's 560,000 samples |
| `rivals` | rivals/ | the same done by other packages, that they agree, and who is faster |

Six commands stand beside them. `python -m benchmarks.gpu_check` checks a GPU within nine minutes:
tests, times and two trainings, one after another. `python -m benchmarks.detection` measures how
well detectors work, on one simulated hold-out, and `python -m benchmarks.mdc` how far they see in
continuous strain at a rate of false alarms. `python -m benchmarks.page` writes the recorded figures
into the docs. `python -m benchmarks.training.epoch_on_paper` counts the operations of every
experiment's training step, for what an epoch costs on a GPU, and `python -m
benchmarks.network_sizes` the parameters of every experiment's network.

harness/ holds what all benchmarks share; open harness/command.py first. Nothing of the toolkit
imports benchmarks.
"""

from pathlib import Path

import utils  # noqa: F401 - before torch: it decides how waiting threads wait

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"  # the plots that the pages of docs/ show

# The module of each benchmark. The names are also those of its entry in benchmarks/results/*.json.
MODULES = {
    "cwt": "benchmarks.spectrograms.cwt",
    "cwt_width": "benchmarks.spectrograms.cwt_width",
    "matched_filter": "benchmarks.models1d.matched_filter",
    "grouped_convolution": "benchmarks.models1d.grouped_convolution",
    "cqt": "benchmarks.spectrograms.cqt",
    "preparation": "benchmarks.signal_transforms.preparation",
    "simulating": "benchmarks.simulation.simulating",
    "training_noise": "benchmarks.simulation.training_noise",
    "continuous_strain": "benchmarks.simulation.continuous_strain",
    "engine": "benchmarks.search.engine",
    "windowed": "benchmarks.search.windowed",
    "reading": "benchmarks.data.reading",
    "training_step": "benchmarks.training.training_step",
    "mixed_precision": "benchmarks.training.mixed_precision",
    "tta": "benchmarks.experiments.tta",
    "startup": "benchmarks.data.startup",
    "first_step": "benchmarks.training.first_step",
    "command_line": "benchmarks.runtime.command_line",
    "profile_step": "benchmarks.training.profile_step",
    "growth": "benchmarks.training.growth",
    "full_size": "benchmarks.training.full_size",
    "export": "benchmarks.experiments.export",
    "rivals": "benchmarks.rivals",
}

# What `python -m benchmarks` runs, in this order, which is that of the rows in the tables. The
# others are measured by themselves: `growth` and `full_size` take much longer, `export` and
# `rivals` need packages that no other part does.
ALONE = ("growth", "full_size", "export", "rivals")
BENCHMARKS = tuple(name for name in MODULES if name not in ALONE)
