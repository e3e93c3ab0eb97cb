"""Clocks and spreads: two sides timed in turn, synchronised, the first calls left out."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from runtime.errors import UserError


@dataclass(frozen=True)
class Spread:
    """The median of repeated figures with their quartiles."""

    median: float
    lower: float
    upper: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return median and quartiles of at least one figure."""
        if len(values) == 1:  # quantiles need two values
            return cls(values[0], values[0], values[0], 1)
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper, len(values))


@contextlib.contextmanager
def one_core(device: torch.device) -> Iterator[None]:
    """Let torch compute on one core inside, where it computes on a CPU."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(function: Callable[[], Any], device: torch.device, number: int = 1) -> float:
    """Return the seconds that a call takes, from `number` calls in a row on an idle device."""
    synchronise(device)  # work that was queued before must not be counted
    started = time.perf_counter()
    for _ in range(number):
        function()
    synchronise(device)  # a call on a GPU returns before its work is done
    return (time.perf_counter() - started) / number


def interleave(
    sides: Mapping[str, Callable[[], Any]],
    device: torch.device,
    rounds: int,
    least_seconds: float = 0.1,
    warm_up: int = 2,
) -> dict[str, list[float]]:
    """Time the sides in turn, A B A B ..., and return the seconds a call of each round.

    Args:
        sides: functions by name; what they return is discarded.
        device: what to wait for.
        rounds: timings of each side.
        least_seconds: a timing repeats a short function until it takes about so long.
        warm_up: calls of each side before anything is timed: caches, kernels that are chosen or
            compiled, memory that is fetched for the first time.
    """
    numbers = {}
    for name, function in sides.items():
        # The last of the warm-up calls tells how often a short function must be repeated.
        seconds = [time_calls(function, device) for _ in range(max(warm_up, 1))]
        numbers[name] = max(1, math.ceil(least_seconds / max(seconds[-1], 1e-9)))
    times: dict[str, list[float]] = {name: [] for name in sides}
    # In turn, not one side after the other: a machine that slows down then slows both.
    for _ in range(rounds):
        for name, function in sides.items():
            times[name].append(time_calls(function, device, numbers[name]))
    return times


def paired_ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of the rounds' ratios: a slow spell slows down both sides of a round."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def paired_differences(first: Sequence[float], second: Sequence[float]) -> Spread:
    """Return the spread of the rounds' differences, first less second."""
    return Spread.of([a - b for a, b in zip(first, second, strict=True)])


def check_agreement(what: str, ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> float:
    """Return the largest difference of two results, as a share of the largest value.

    Raises:
        UserError: it is above the tolerance: the two sides do not compute the same, so that their
            times must not be compared.
    """
    if ours.shape != theirs.shape:
        raise UserError(
            f"{what}: results of shapes {tuple(ours.shape)} and {tuple(theirs.shape)} cannot be "
            "the same, so their times are not compared"
        )
    theirs = theirs.to(ours.device, torch.float64)
    # Relative to the peak, since single values may be near zero.
    peak = theirs.abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    difference = float((ours.double() - theirs).abs().max() / peak)
    if not difference <= tolerance:  # a NaN is refused as well
        raise UserError(
            f"{what}: the results differ by {difference:.1e} of their peak, more than "
            f"{tolerance:.0e}, so their times are not compared"
        )
    return difference
