"""How a search is done: the step between windows, the segments, the time slides.

The fields of `SearchSettings` bear the names of the flags of detect.py, and detection.json stores
them under these names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from search.slides import min_shift_seconds

PSD_WINDOWS = 8  # a PSD needs as many windows' length of strain; see `measure_psd`
FILTER_SECONDS = 2.0  # lost to the filters at both ends together
FEWEST_WINDOWS = 3  # there should be room for so many


def psd_seconds(observation: Observation = COMPETITION) -> float:
    """Return how much strain without gaps a PSD needs, s."""
    return PSD_WINDOWS * observation.window


def min_overlap_seconds(observation: Observation = COMPETITION) -> float:
    """Return how much strain all detectors must have in common, s."""
    return psd_seconds(observation) + FILTER_SECONDS + FEWEST_WINDOWS * observation.window


@dataclass(frozen=True)
class SearchSettings:
    """The settings of one search.

    Args:
        step: seconds between the starts of successive windows.
        stretch: seconds of strain in a segment, which is whitened by one PSD.
        slides: time slides of each segment; 0 estimates no background.
        shift: seconds by which the first time slide shifts the second detector; the n-th slide
            shifts it n times as far.
        cluster: seconds within which only the loudest window becomes a trigger.
        top: triggers to keep, the loudest first.
        exclude: keep the windows of this many loudest triggers out of the time slides.
        maps: keep the whitened strain of this many loudest triggers, for the figure.
        batch_size: windows scored at once.
        zeros: fill the channel of a missing detector with zeros instead of noise of its design
            curve.
        seed: of that noise.
    """

    step: float = 0.1
    stretch: float = 512.0
    slides: int = 20
    shift: float = 1.0
    cluster: float = COMPETITION.window  # windows that overlap show the same merger
    top: int = 20
    exclude: int = 0
    maps: int = 3
    batch_size: int = 256
    zeros: bool = False
    seed: int = 2021

    @property
    def cluster_windows(self) -> int:
        """The number of windows on either side of a trigger that must not be louder."""
        return max(round(self.cluster / self.step), 1)

    @property
    def shift_windows(self) -> int:
        """The shift of the first time slide in windows, rounded up to whole steps."""
        # 1e-9: 1 s / 0.1 s is a hair above 10 in floating point and must not become 11
        return max(math.ceil(self.shift / self.step - 1e-9), 1)


def check_settings(settings: SearchSettings, observation: Observation = COMPETITION) -> None:
    """Check the range of every setting for an observation.

    Raises:
        UserError: a setting is out of its range; the message names the flag of detect.py.
    """
    for name in ("step", "stretch", "shift", "cluster", "top", "batch_size"):
        value = getattr(settings, name)
        if not (value > 0 and math.isfinite(value)):
            raise UserError(f"--{name} {value:g} must be positive")
    for name in ("slides", "exclude", "maps"):
        if getattr(settings, name) < 0:
            raise UserError(f"--{name} {getattr(settings, name)} must not be negative")
    shortest = 2 * min_overlap_seconds(observation)
    if settings.stretch < shortest:
        raise UserError(
            f"--stretch {settings.stretch:g} is too short for a PSD: give {shortest:g} s or more"
        )
    rate = observation.sample_rate
    if settings.step * rate < 1:
        raise UserError(f"--step {settings.step:g} is less than one sample, 1/{rate} s")
    # Shifted by less, a real signal could still be coincident and would count as background.
    least = min_shift_seconds(observation)
    if settings.shift < least:
        raise UserError(
            f"--shift {settings.shift:g} is within the time light needs between detectors: give "
            f"{least:g} s or more"
        )
