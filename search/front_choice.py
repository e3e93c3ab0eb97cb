"""Which first part of a network, its front, runs over whole stretches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from layers.front import FrontStep
from runtime.float32_precision import full_precision
from search.local_front import REFUSALS, TOLERANCE, Probe, Reach, check_memory, join_reaches
from search.stretch_features import StretchFeatures

MOST_WORK = 0.75  # of that on whole windows, for which a front still runs over stretches
# The step between windows may change by this share, to be a whole number of a front's columns.
STEP_CHANGE = 0.1
CHECKED_WINDOWS = 3


class LocalFront(NamedTuple):
    """A network cut in two, and how far the first part sees.

    Attributes:
        steps: one after the other the front, (B, D, T) -> (B, ..., T').
        rest: what the front returned -> logits (B, num_classes).
        reach: of the front.
        hop: samples from one window to the next. They are a whole number of columns where the front
            sees all detectors; otherwise windows begin with the nearest column.
    """

    steps: tuple[Callable[[Tensor], Tensor], ...]
    rest: Callable[[Tensor], Tensor]
    reach: Reach
    hop: float

    def front(self, x: Tensor) -> Tensor:
        """(B, D, T) -> (B, ..., T')."""
        for step in self.steps:
            x = step(x)
        return x


def choose_fronts(
    networks: Sequence[Any],
    detectors: int,
    samples: int,
    step: float,
    device: torch.device | str = "cpu",
) -> list[LocalFront]:
    """Return the fronts of some networks that save most work; [] if none saves any.

    A front that computes something of each detector alone serves all time slides: it is chosen
    even where it is given windows.

    Args:
        networks: of the same layers, in evaluation mode; those without `front_steps` have none.
        detectors: D.
        samples: of a window.
        step: samples from one window to the next, as asked for; not always a whole number.
        device: of the networks.

    Returns:
        One for each network, with as many steps, the same reach and the same hop.
    """
    steps = [list(getattr(network, "front_steps", list)()) for network in networks]
    probes = [Probe(detectors, samples, device) for _ in networks]
    best: list[LocalFront] = []
    most, products = 0.0, 1  # where there is but one step, its products need not be counted
    for number, of_networks in enumerate(zip(*steps, strict=True)):
        if len(steps[0]) > 1:
            products += count_products(of_networks[0].step, probes[0].window[:1])
        for probe, each in zip(probes, of_networks, strict=True):
            probe.advance(each.step)
        reach = join_reaches([probe.reach() for probe in probes])
        hop = choose_hop(reach, step)
        if hop is None or reach.work(hop) > MOST_WORK:
            if not reach.is_apart:
                break  # further steps see further
            reach, hop = reach.of_windows(), step
        saved = (1 - min(reach.work(hop), MOST_WORK)) * products
        if saved > most:
            most = saved
            best = [make_front(each[: number + 1], reach, hop) for each in steps]
    if best and not all(agrees_with_windows(front, detectors, device) for front in best):
        return []
    return best


def make_front(steps: Sequence[FrontStep], reach: Reach, hop: float) -> LocalFront:
    """Return the first steps of a network as its front."""
    return LocalFront(tuple(each.step for each in steps), steps[-1].rest, reach, hop)


def choose_hop(reach: Reach, step: float) -> float | None:
    """Return how many samples apart windows are where a front runs over the stretch.

    Where it sees all detectors, all of them are slid by whole columns at all windows, which
    therefore lie evenly: a multiple of the stride apart. None if that differs from the step asked
    for by more than `STEP_CHANGE`, or if columns lie further apart than windows.
    """
    if reach.is_apart:
        return step if step >= reach.stride else None
    hop = round(step / reach.stride) * reach.stride
    return hop if hop and abs(hop / step - 1) <= STEP_CHANGE else None


def place_windows(count: int, hop: float, grid: int) -> np.ndarray:
    """Return the first samples of windows, the multiples of `grid` next to those of `hop`.

    Returns:
        (count,) int64.
    """
    return np.round(np.arange(count) * hop / grid).astype(np.int64) * grid


@torch.no_grad()
def count_products(step: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Return the products of the convolutions and matrices that a step takes for an input."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step(x)
    return counter.get_total_flops() // 2


@torch.no_grad()
def agrees_with_windows(
    front: LocalFront, detectors: int, device: torch.device | str = "cpu"
) -> bool:
    """Whether what is put together of a stretch is what the front makes of windows.

    A last look at the very windows of a search: a front may hide a stride of its own.
    """
    reach = front.reach
    generator = torch.Generator().manual_seed(1)
    starts = place_windows(CHECKED_WINDOWS, front.hop, reach.stride)
    if reach.is_apart and reach.is_local:  # windows may begin with any column
        starts = np.append(starts, starts[-1] + reach.stride)
    series = torch.randn(detectors, starts[-1] + reach.samples, generator=generator).to(device)
    windows = torch.stack([series[:, start : start + reach.samples] for start in starts])
    shown = np.tile(np.arange(len(starts)), (detectors, 1))
    with full_precision(torch.device(device).type):
        expected = front.front(windows)
        try:
            features = StretchFeatures(front.front, reach, series, starts, 2)
        except REFUSALS as error:
            check_memory(error)
            return False
    allowed = 3 * TOLERANCE * float(expected.abs().max())
    return bool(((features.take(shown) - expected).abs() <= allowed).all())
