"""Is there a faster form of the grouped convolutions of Seq03aug3 than torch's own?

Forward and backward of one convolution of its first stage (4 channels a group) and of its third
(16), stride one, as torch computes it and in other forms: groups joined to fewer ones, with zeros
between them, so that a group fills a vector; with the channels innermost; as products of matrices
of unfolded frames; and with the gradient of the weights as one product for each tap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, check_agreement, interleave, paired_ratios
from physics.observation import COMPETITION
from runtime.command_line import run_command

GROUPS, TAPS = 32, 16  # of Seq03aug3
SAMPLES = COMPETITION.num_samples
STAGES = {"first": (128, SAMPLES), "third": (512, SAMPLES // 16)}  # channels, columns of a sample
JOINED = 4  # groups that become one
TOLERANCE = 1e-4  # of gradients, sums over a batch of columns


def plain(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve (B, C, T + 15) with (C, C / groups, 16): (B, C, T)."""
    return F.conv1d(x, weight, groups=GROUPS)


def joined(x: Tensor, weight: Tensor) -> Tensor:
    """The same with `JOINED` groups as one, whose other weights are zero."""
    own = weight.unflatten(0, (GROUPS // JOINED, JOINED, -1))  # (group, part, out, in, tap)
    places = torch.eye(JOINED, dtype=weight.dtype, device=weight.device)[:, None, :, None, None]
    wide = own[:, :, :, None] * places  # (group, part, out, part, in, tap)
    # (group, part, out, part, in, tap) -> (C, JOINED x C / groups, tap)
    return F.conv1d(x, wide.flatten(3, 4).flatten(0, 2), groups=GROUPS // JOINED)


def channels_innermost(x: Tensor, weight: Tensor) -> Tensor:
    """The same as a convolution of images of one row, channels innermost in memory."""
    layout = torch.channels_last
    image, kernel = (each[:, :, None].contiguous(memory_format=layout) for each in (x, weight))
    return F.conv2d(image, kernel, groups=GROUPS)[:, :, 0]


def unfolded(x: Tensor, weight: Tensor) -> Tensor:
    """The same as products of matrices: weights times the frames that a column sees."""
    frames = x.unflatten(1, (GROUPS, -1)).unfold(-1, TAPS, 1)  # (B, group, in, T, tap)
    # (B, group, in, T, tap) -> (B, group, in x tap, T)
    frames = frames.transpose(3, 4).flatten(2, 3)
    # (C, in, tap) -> (group, out, in x tap); (B, group, out, T) -> (B, C, T)
    return (weight.unflatten(0, (GROUPS, -1)).flatten(2) @ frames).flatten(1, 2)


class ByTaps(torch.autograd.Function):
    """The same; the gradient of each tap's weights is one product of matrices."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return plain(x, weight)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_x = torch.nn.grad.conv1d_input(x.shape, weight, gradient, groups=GROUPS)
        seen = x.unflatten(1, (GROUPS, -1))  # (B, group, in, T + 15)
        outer, columns = gradient.unflatten(1, (GROUPS, -1)), gradient.shape[-1]
        taps = [(outer @ seen[..., k : k + columns].mT).sum(0) for k in range(TAPS)]
        # (group, out, in, tap) -> (C, in, tap)
        return of_x, torch.stack(taps, -1).flatten(0, 1)


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "groups joined by four": joined,
    "channels innermost": channels_innermost,
    "products of unfolded frames": unfolded,
    "gradient of weights by taps": ByTaps.apply,
}


def both_passes(
    form: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, direction: Tensor
) -> Callable[[], Tensor]:
    """Return a function that returns both gradients of a form, (number,)."""

    def step() -> Tensor:
        found = torch.autograd.grad(form(x, weight), (x, weight), direction)
        return torch.cat([each.flatten() for each in found])

    return step


def measure(settings: BenchmarkSettings) -> Findings:
    rows = []
    for stage, (channels, columns) in STAGES.items():
        batch, columns = settings.choose(
            cpu=(4, columns), cuda=(64, columns), quick=(2, columns // 8)
        )
        shapes = ((batch, channels, columns + TAPS - 1), (channels, channels // GROUPS, TAPS))
        x, weight = (torch.randn(n, device=settings.device, requires_grad=True) for n in shapes)
        direction = torch.randn(batch, channels, columns, device=settings.device)
        forms = {"torch": plain, **FORMS}
        sides = {name: both_passes(form, x, weight, direction) for name, form in forms.items()}
        expected = sides["torch"]()
        for name in FORMS:
            check_agreement(name, sides[name](), expected, TOLERANCE)
        rounds = settings.rounds(settings.choose(cpu=9, cuda=11, quick=2))
        times = interleave(sides, settings.device, rounds, settings.least_seconds)
        rows += [
            Measurement(
                f"grouped_convolution.{stage}.{name.split()[-1]}",
                f"grouped convolution of Seq03aug3's {stage} stage, both passes: {name}",
                "torch's conv1d",
                paired_ratios(times["torch"], times[name]),
                "×",
                True,
                {},
                Spread.of(times[name]),
                Spread.of(times["torch"]),
                settings={"batch": batch, "threads": torch.get_num_threads()},
                extra={"rounds": rounds},
            )
            for name in FORMS
        ]
    return Findings(rows)


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("grouped_convolution", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
