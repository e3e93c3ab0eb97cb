"""How far the first part of a network, its front, sees in time.

Windows overlap by 95 %, and a convolution or a wavelet transform of one repeats most of what was
computed for the one before. A front that sees a short time runs over the stretch once instead, and
a window takes the columns that lie in it (see search/stretch_features.py). At the edges of a window
that would not do: a network was trained on windows with nothing beyond them, while the strain goes
on. The columns near the edges are computed from the first and the last samples of every window.

How far a front sees is measured, not declared. It is given noise, once as a window and once with
more noise around it, and the columns that differ are those that know of the edges. A front whose
every column differs, such as one with attention over all times, is given windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from runtime.errors import UserError
from runtime.float32_precision import full_precision

# Of the largest value: columns that differ by more are not the same. Sums of float32 in another
# order differ by a tenth of it.
TOLERANCE = 1e-5
# Windows of noise that show how far a front sees, the second half of them ten times as loud: what
# a maximum or a threshold takes is not the same in all of them.
PROBES = 8
LOUD = 10.0
# What a front may raise that does not take strain of another length than a window's.
REFUSALS = (RuntimeError, UserError, ValueError, IndexError, AssertionError)


def check_memory(error: Exception) -> None:
    """Raise an error again that says that memory ran out, which is no refusal of a length."""
    if isinstance(error, torch.cuda.OutOfMemoryError) or "allocate memory" in str(error):
        raise error


@dataclass(frozen=True)
class Reach:
    """Which columns of a window know of its edges.

    Attributes:
        samples: of a window.
        columns: that a front makes of it.
        values: in a column.
        stride: samples from one column to the next, a divisor of `samples`; where the front runs
            over a stretch, windows begin at multiples of it.
        left, right: columns at the beginning and at the end that differ where strain goes on
            beyond the window. All of them are `left` where the front is to be given windows.
        is_apart: whether the axis after the batch is the detectors, each computed from its own
            strain alone.
    """

    samples: int
    columns: int
    values: int
    stride: int
    left: int
    right: int
    is_apart: bool

    @property
    def is_local(self) -> bool:
        """Whether there are columns that do not know of the edges."""
        return self.left + self.right < self.columns

    @property
    def strip(self) -> int:
        """Samples at either end of a window that the columns at its edge are computed from.

        A strip has an inner edge, which spoils as many columns as the other edge of a window does.
        A front that crops its ends has fewer columns than a window has strides.
        """
        if not self.is_local:
            return self.samples
        cropped = self.samples // self.stride - self.columns
        return min((self.left + self.right + cropped) * self.stride, self.samples)

    def work(self, hop: float) -> float:
        """Return how many samples a front takes for a window, relative to the window's own.

        Args:
            hop: samples from one window to the next.
        """
        return (2 * self.strip + hop) / self.samples if self.is_local else 1.0

    def of_windows(self) -> Reach:
        """Return the reach of the same front where it is given windows."""
        return replace(self, stride=1, left=self.columns, right=0)

    def count_bytes(self, windows: int, last: int) -> int:
        """Return how many bytes the columns of some windows take.

        Args:
            windows: how many.
            last: first sample of the last one, where the first begins with sample 0.
        """
        edges = windows * min(self.left + self.right, self.columns)
        inner = last // self.stride + self.columns if self.is_local else 0
        return 4 * self.values * (edges + inner)


class Probe:
    """Noise on its way through the steps of a front, which shows how far they see.

    Args:
        detectors: D.
        samples: of a window.
        device: of the network.
    """

    def __init__(self, detectors: int, samples: int, device: torch.device | str) -> None:
        # Noise from a generator of its own: nothing else that is drawn depends on this.
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(PROBES, detectors, 3 * samples, generator=generator).to(device)
        noise[PROBES // 2 :] *= LOUD
        self.detectors, self.samples, self.device = detectors, samples, torch.device(device)
        self.wide: Tensor | None = noise
        self.window = noise[..., samples : 2 * samples].contiguous()
        # The window with another strain in one detector, for each of them.
        self.changed = [self.window.clone() for _ in range(detectors)]
        for channel, changed in enumerate(self.changed):
            changed[:, channel] = noise[:, channel, :samples]

    @torch.no_grad()
    def advance(self, step: Callable[[Tensor], Tensor]) -> None:
        """Let a step follow those before it."""
        with full_precision(self.device.type):  # TF32 would differ by a thousandth
            self.window = step(self.window)
            if self.window.dim() > 3 and self.window.shape[1] == self.detectors:
                self.changed = [step(changed) for changed in self.changed]
            else:
                self.changed = []  # the detectors have met
            try:
                self.wide = None if self.wide is None else step(self.wide)
            except REFUSALS as error:
                check_memory(error)
                self.wide = None  # it takes windows alone, such as one with a table of positions

    def reach(self) -> Reach:
        """Return how far the steps see."""
        own = self.window
        columns, is_apart = own.shape[-1], bool(self.changed)
        # of each probe, (B, ..., 1)
        allowed = TOLERANCE * own.abs().amax(tuple(range(1, own.dim())), keepdim=True)
        for channel, changed in enumerate(self.changed):
            change = (changed - own).abs() > allowed
            change[:, channel] = False
            is_apart &= not bool(change.any())
        of_windows = Reach(
            self.samples, columns, own[0].numel() // columns, 1, columns, 0, is_apart
        )
        stride = self.find_stride()
        if stride is None:
            return of_windows
        place = self.samples // stride  # of the window's first column among those of `wide`
        around = self.wide[..., place : place + columns]
        # (B, ..., T') -> (T',); what is not finite differs
        differs = ~((around - own).abs() <= allowed).flatten(0, -2).all(0)
        wrong = differs.nonzero().flatten().tolist()
        half = columns // 2
        left = max((column + 1 for column in wrong if column < half), default=0)
        right = max((columns - column for column in wrong if column >= half), default=0)
        found = replace(of_windows, stride=stride, left=left, right=right)
        return found if found.is_local else of_windows

    def find_stride(self) -> int | None:
        """Return the samples from one column to the next, if that is a divisor of a window's."""
        if self.wide is None:
            return None
        columns = self.wide.shape[-1] - self.window.shape[-1]  # of two windows' samples
        if columns <= 0 or 2 * self.samples % columns:
            return None
        stride = 2 * self.samples // columns
        return stride if self.samples % stride == 0 else None


def join_reaches(reaches: Sequence[Reach]) -> Reach:
    """Return what holds for the fronts of several networks with the same layers."""
    first = reaches[0]
    is_apart = all(reach.is_apart for reach in reaches)
    joined = replace(
        first,
        left=max(reach.left for reach in reaches),
        right=max(reach.right for reach in reaches),
        is_apart=is_apart,
    )
    alike = {(reach.columns, reach.stride) for reach in reaches} == {(first.columns, first.stride)}
    return joined if alike and joined.is_local else replace(first.of_windows(), is_apart=is_apart)
