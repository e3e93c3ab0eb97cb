"""How far the first part of a network sees in time, and which part may run over whole stretches.

Windows overlap by 95 %, and a convolution or a wavelet transform of one repeats most of what was
computed for the one before. A front that sees a short time runs over the stretch once instead, and
a window takes the columns that lie in it (see search/stretch_features.py). At the edges of a window
that would not do: a network was trained on windows with nothing beyond them, while the strain goes
on. The columns near the edges are computed from the first and the last samples of every window.

How far a front sees is measured, not declared. It is given noise, once as a window and once with
more noise around it, and the columns that differ are those that know of the edges. A front whose
every column differs, such as one with attention over all times, sees windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from layers.front import FrontStep
from runtime.float32_precision import full_precision

# Of the largest value: columns that differ by more are not the same. Sums of float32 in another
# order differ by a tenth of it.
TOLERANCE = 1e-5
PROBES = 2  # windows of noise that show how far a front sees
MOST_WORK = 0.75  # of that on whole windows, for which a front still runs over stretches


@dataclass(frozen=True)
class Reach:
    """Which columns of a window know of its edges.

    Attributes:
        samples: of a window.
        columns: that a front makes of it.
        values: in a column.
        stride: samples from one column to the next; windows begin at multiples of it.
        left, right: columns at the beginning and at the end that differ where strain goes on
            beyond the window.
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
        A front that crops its ends has fewer columns than strides. The length leaves the same
        remainder as a window's, divided by the stride: a padding that depends on it is the same.
        """
        if not self.is_local:
            return self.samples
        cropped = math.ceil(self.samples / self.stride) - self.columns
        least = (self.left + self.right + cropped) * self.stride
        return min(least + (self.samples - least) % self.stride, self.samples)

    def work(self, hop: int) -> float:
        """Return how many samples a front takes for a window, relative to the window's own.

        Args:
            hop: samples from one window to the next.
        """
        hop -= hop % self.stride  # windows begin at multiples of it, and no further apart
        return (2 * self.strip + hop) / self.samples if self.is_local and hop else math.inf

    def count_bytes(self, windows: int, hop: int) -> int:
        """Return how many bytes the columns of successive windows take."""
        edges = windows * min(self.left + self.right, self.columns)
        inner = (windows - 1) * hop // self.stride + self.columns if self.is_local else 0
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
        self.detectors, self.samples, self.device = detectors, samples, torch.device(device)
        self.wide = noise
        self.window = noise[..., samples : 2 * samples].contiguous()
        # The window with another strain in one detector, for each of them.
        self.changed = [self.window.clone() for _ in range(detectors)]
        for channel, changed in enumerate(self.changed):
            changed[:, channel] = noise[:, channel, :samples]

    @torch.no_grad()
    def advance(self, step: Callable[[Tensor], Tensor]) -> None:
        """Let a step follow those before it."""
        with full_precision(self.device.type):  # TF32 would differ by a thousandth
            self.wide, self.window = step(self.wide), step(self.window)
            if self.window.dim() > 3 and self.window.shape[1] == self.detectors:
                self.changed = [step(changed) for changed in self.changed]
            else:
                self.changed = []  # the detectors have met

    def reach(self) -> Reach | None:
        """Return how far the steps see; None if columns do not lie at one distance in time."""
        own, samples = self.window, self.samples
        columns, more = own.shape[-1], self.wide.shape[-1] - own.shape[-1]
        # 2 x samples make `more` columns: a whole number of samples each, and the window's begin
        # with a column.
        if more <= 0 or 2 * samples % more or samples % (2 * samples // more):
            return None
        stride = 2 * samples // more
        place = samples // stride
        around = self.wide[..., place : place + columns]
        allowed = TOLERANCE * float(own.abs().max())
        # (B, ..., T') -> (T',); what is not finite differs
        differs = ~((around - own).abs() <= allowed).flatten(0, -2).all(0)
        is_apart = bool(self.changed)
        for channel, changed in enumerate(self.changed):
            change = (changed - own).abs() > allowed
            change[:, channel] = False
            is_apart &= not bool(change.any())
        wrong = differs.nonzero().flatten().tolist()
        half = columns // 2
        return Reach(
            samples,
            columns,
            own[0].numel() // columns,
            stride,
            left=max((column + 1 for column in wrong if column < half), default=0),
            right=max((columns - column for column in wrong if column >= half), default=0),
            is_apart=is_apart,
        )


@torch.no_grad()
def count_products(step: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Return the products of the convolutions and matrices that a step takes for an input."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step(x)
    return counter.get_total_flops() // 2


class LocalFront(NamedTuple):
    """The first steps of a network, and how far they see."""

    steps: tuple[FrontStep, ...]
    reach: Reach

    def front(self, x: Tensor) -> Tensor:
        """(B, D, T) -> (B, ..., T')."""
        for each in self.steps:
            x = each.step(x)
        return x

    def rest(self, features: Tensor) -> Tensor:
        """What `front` returned -> logits (B, num_classes)."""
        return self.steps[-1].rest(features)


def choose_fronts(
    networks: Sequence[Any],
    detectors: int,
    samples: int,
    hop: int,
    device: torch.device | str = "cpu",
) -> list[LocalFront]:
    """Return the fronts of some networks that save most work; none if none saves any.

    A front that computes something of each detector alone serves all time slides: it is chosen
    even where it must see windows.

    Args:
        networks: of the same layers, in evaluation mode; those without `front_steps` have none.
        detectors: D.
        samples: of a window.
        hop: samples from one window to the next.
        device: of the networks.

    Returns:
        One for each network, with as many steps and the same reach.
    """
    steps = [list(getattr(network, "front_steps", list)()) for network in networks]
    probes = [Probe(detectors, samples, device) for _ in networks]
    best: list[LocalFront] = []
    most, products = 0.0, 1
    for number, of_networks in enumerate(zip(*steps, strict=True)):
        if len(steps[0]) > 1:
            products += count_products(of_networks[0].step, probes[0].window[:1])
        for probe, each in zip(probes, of_networks, strict=True):
            probe.advance(each.step)
        reach = join_reaches([probe.reach() for probe in probes])
        if reach is None:
            break
        work = reach.work(hop)
        if work > MOST_WORK:
            if not reach.is_apart:
                break  # further steps see further
            reach = replace(reach, left=reach.columns, right=0)  # of whole windows
            work = MOST_WORK
        if (1 - work) * products > most:
            most = (1 - work) * products
            best = [LocalFront(tuple(each[: number + 1]), reach) for each in steps]
    return best


def join_reaches(reaches: Sequence[Reach | None]) -> Reach | None:
    """Return what holds for all of them; None if one is None or they are not alike."""
    if None in reaches:
        return None
    found = {
        replace(
            each,
            left=max(reach.left for reach in reaches),
            right=max(reach.right for reach in reaches),
            is_apart=all(reach.is_apart for reach in reaches),
        )
        for each in reaches
    }
    return found.pop() if len(found) == 1 else None
