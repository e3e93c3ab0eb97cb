"""Where in a window filters are read: arrival times at one detector, and delays at the others.

A signal passes the geocentre within the times of the population's law, and a detector up to 21.3 ms
earlier or later. One detector, the *reference*, stands for all: the network looks for arrival times
there, and at every other detector within the time that light needs from the reference. A margin is
added to both, because templates of other masses have their largest output some milliseconds away
from the merger, and because arrival times are counted in strides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from physics.constants import LIGHT_TIME
from physics.observation import Observation
from physics.sites import longest_delay
from runtime.errors import UserError

# Margins in s: of the first and the last arrival time, and of a delay. They were once found for the
# competition by rounding; these give it the same strides, at every stride and decimation.
EARLIER, LATER = 0.0288, 0.0388
DELAY_MARGIN = 0.0016


@dataclass(frozen=True)
class ArrivalGrid:
    """Arrival times at the reference and delays at the others, counted in strides.

    Attributes:
        reference: channel of the detector that arrival times are counted at.
        first: the first arrival time, in strides after the window begins.
        num_times: how many arrival times.
        reach: largest delay of each channel with respect to the reference, before and after.
    """

    reference: int
    first: int
    num_times: int
    reach: tuple[int, ...]

    @property
    def others(self) -> tuple[int, ...]:
        """The channels that have delays: all but the reference."""
        return tuple(d for d in range(len(self.reach)) if d != self.reference)


def arrival_bounds(merger: Sequence[float]) -> tuple[float, float]:
    """Return the bounds of the arrival time at any detector, s after the window begins.

    Args:
        merger: bounds of the time at which the merger passes the geocentre, s.
    """
    return merger[0] - LIGHT_TIME - EARLIER, merger[1] + LIGHT_TIME + LATER


def largest_delays(detectors: Sequence[str], reference: int) -> tuple[float, ...]:
    """Return the largest delay of each detector with respect to the reference, s."""
    return tuple(
        0.0 if d == reference else longest_delay(detectors[reference], name) + DELAY_MARGIN
        for d, name in enumerate(detectors)
    )


def make_arrival_grid(
    observation: Observation,
    reference: int,
    arrival: Sequence[float],
    delays: Sequence[float],
    rate: float,
    stride: int,
) -> ArrivalGrid:
    """Return the grid of these bounds.

    Args:
        observation: its detectors and window.
        reference: channel.
        arrival: bounds of the arrival time at the reference, s after the window begins.
        delays: largest delay of each detector with respect to the reference, s.
        rate: samples a second of the filtered strain.
        stride: samples between arrival times.

    Raises:
        UserError: arrival times outside the window, or delays that are negative or not zero at the
            reference.
    """
    if len(arrival) != 2 or not 0 < arrival[0] < arrival[1] < observation.window:
        raise UserError(
            f"MatchedFilter1d: arrival = {tuple(arrival)}: expected two rising times within "
            f"{observation.window:g} s"
        )
    if delays[reference] != 0 or min(delays) < 0:
        raise UserError(
            f"MatchedFilter1d: delays = {tuple(delays)}: expected 0 for "
            f"{observation.detectors[reference]}, whose arrival times they are counted from, and "
            f"no negative ones"
        )
    first = math.floor(arrival[0] * rate / stride)
    return ArrivalGrid(
        reference=reference,
        first=first,
        num_times=math.floor(arrival[1] * rate / stride) - first + 1,
        reach=tuple(math.ceil(delay * rate / stride) for delay in delays),
    )
