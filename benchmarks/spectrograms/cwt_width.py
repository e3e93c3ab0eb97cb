"""How much faster is the Morlet front-end with a width that is learnt, forward and backward?

Nspec16's front-end rebuilds its kernels from the width in every step and has a backward pass of its
own. The other side rebuilds the same kernels, convolves with a stride and lets torch differentiate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, check_agreement, interleave, paired_ratios
from benchmarks.spectrograms.cwt import TOLERANCE, front_end_of, use_full_float32, waveforms
from benchmarks.spectrograms.direct_cwt import DirectMorletCWT
from runtime.command_line import run_command

GRADIENT_TOLERANCE = 1e-3  # of the gradient, a sum over millions of float32 products
TARGETS = {"cpu": 20.0, "cuda": 10.0}
# By kind of device, from the CPU time of each operation on one thread.
REASONS = {
    "cpu": "two fifths of the time are Fourier transforms, of every filtered waveform and of its "
    "derivative by the width, a quarter the products with the bank, the rest magnitudes and their "
    "slopes, element by element. The convolution pays for its direct form mostly in the forward "
    "pass and only a quarter more for its gradient."
}


def forward_backward(module: nn.Module, x: Tensor, direction: Tensor) -> Callable[[], Tensor]:
    """Return a function that does both passes and returns the gradient of the width.

    Args:
        x: (batch, 3, time).
        direction: the gradient of the image, as a network would hand it back.
    """

    def step() -> Tensor:
        module.wavelet_width.grad = None
        module(x).backward(direction)
        return module.wavelet_width.grad

    return step


def measure(settings: BenchmarkSettings) -> Findings:
    from configs import Nspec16

    use_full_float32()
    batch = settings.choose(cpu=Nspec16.batch_size, cuda=Nspec16.batch_size, quick=1)
    front_end = front_end_of(Nspec16, settings.quick, trainable_width=True).to(settings.device)
    direct = DirectMorletCWT(front_end).to(settings.device)
    x = waveforms(settings, batch)
    with torch.no_grad():
        image = front_end(x)
        difference = check_agreement("CWT of a trainable width", image, direct(x), TOLERANCE)
    direction = torch.randn_like(image)
    sides = {
        "ours": forward_backward(front_end, x, direction),
        "theirs": forward_backward(direct, x, direction),
    }
    gradient_difference = check_agreement(
        "gradient of the width", sides["ours"](), sides["theirs"](), GRADIENT_TOLERANCE
    )
    rounds = settings.rounds(settings.choose(cpu=7, cuda=25, quick=2))
    times = interleave(sides, settings.device, rounds, settings.least_seconds)
    row = Measurement(
        "cwt_width.nspec_16",
        "Morlet CWT of Nspec16, width learnt, forward and backward",
        "strided conv1d, kernels rebuilt, torch's gradient",
        paired_ratios(times["theirs"], times["ours"]),
        "×",
        True,
        TARGETS,
        Spread.of(times["ours"]),
        Spread.of(times["theirs"]),
        settings={
            "batch": batch,
            "scales": len(front_end.scales),
            "threads": torch.get_num_threads(),
        },
        reason=REASONS.get(settings.device.type),
        extra={
            "largest_difference": difference,
            "gradient_difference": gradient_difference,
            "rounds": rounds,
        },
    )
    return Findings([row])


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("cwt_width", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
