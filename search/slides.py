"""Time slides of a stretch of strain: how far each detector is shifted.

A gravitational wave reaches all detectors within the time that light takes between them (27 ms
from Virgo to Hanford). Shift the strain of one detector against another's by more than that, and
no trigger can be a gravitational wave: every trigger of shifted strain is noise. Many shifts of the
same strain give many times its length of background.

A stretch is closed to a ring: with a shift of s, what a detector shows at the time t was recorded
at start + (t - start + s) mod (end - start). Every slide is so as long as the stretch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from physics.observation import COMPETITION, Observation
from physics.sites import longest_delay


def min_shift_seconds(observation: Observation = COMPETITION) -> float:
    """Return the shortest shift of a time slide, s.

    It is the time that light needs between the two detectors that are furthest apart, rounded up to
    10 ms: 30 ms for the competition's, as light takes 27 ms from Virgo to Hanford.
    """
    pairs = itertools.combinations(observation.detectors, 2)
    longest = max((longest_delay(*pair) for pair in pairs), default=0.0)
    return math.ceil(100 * longest) / 100


def list_time_slides(
    duration: float, detectors: Sequence[str], slides: int, shift: float
) -> list[dict[str, float]]:
    """Return the shifts of each slide of a stretch, the unshifted strain first.

    In slide n the second detector is shifted by n times the unit and the third by 2 n times, so
    that no two detectors keep their true alignment. Slides in which two would come closer than one
    unit, once round the ring, are left out.

    Args:
        duration: of the stretch, s.
        detectors: with strain; with one there is nothing to slide against.
        slides: how many are wanted, without the unshifted strain; a short stretch has room for
            fewer.
        shift: the unit, s.

    Returns:
        For each slide the shift of each detector, s. The first is {}, the strain as it is.
    """
    found: list[dict[str, float]] = [{}]
    number = 0
    # 1e-9: shifts such as 3 x 0.1 are a hair off in floating point
    while len(found) <= slides and (number + 2) * shift <= duration * (1 + 1e-9):
        number += 1
        # whole nanoseconds, so that shifts do not depend on how they were summed
        shifts = [round(number * shift * place, 9) % duration for place in range(len(detectors))]
        # distance of every pair of detectors on the ring
        pairs = [(b - a) % duration for a, b in itertools.combinations(shifts, 2)]
        least, most = shift * (1 - 1e-9), duration - shift * (1 - 1e-9)
        if pairs and all(least <= pair <= most for pair in pairs):
            found.append(dict(zip(detectors, shifts, strict=True)))
    return found


def recorded_times(time: np.ndarray, shift: float, start: float, end: float) -> np.ndarray:
    """Return when the strain was recorded that a shifted detector shows at some times.

    Args:
        time: (n,) GPS, s.
        shift: of the detector, s.
        start: of the stretch, GPS, s.
        end: of the stretch, GPS, s.

    Returns:
        (n,) GPS, s.
    """
    if shift == 0:  # exactly the same numbers, and times a little outside stay outside
        return time
    return start + (time - start + shift) % (end - start)


def times_by_detector(
    time: np.ndarray,
    shifts: Mapping[str, float],
    detectors: Sequence[str],
    stretch_detectors: Sequence[str],
    bounds: tuple[float, float],
) -> np.ndarray:
    """Return when each detector recorded what it shows at some times of a slide.

    Args:
        time: (n,) GPS, s.
        shifts: by detector, s; those not named are not shifted.
        detectors: of the observation, in order.
        stretch_detectors: those with strain.
        bounds: start and end of the stretch, GPS, s.

    Returns:
        (n, D) GPS, s; NaN for detectors without strain.
    """
    times = np.full((len(time), len(detectors)), np.nan)
    for place, name in enumerate(detectors):
        if name in stretch_detectors:
            times[:, place] = recorded_times(time, shifts.get(name, 0.0), *bounds)
    return times
