"""How a search is done: its stretches, its time slides, its triggers.

The fields of `SearchSettings` bear the names of the flags of detect.py, and detection.json stores
them under these names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data.gates import GATE_SNR
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from search.conditioned_stretch import ConditioningSettings
from search.slides import list_time_slides, min_shift_seconds

PREFERRED_SHIFT = 1.0  # s, of the first time slide where there is room for it
# Before its merger and after it, a signal is seen for so long at most beyond a window's length, s.
VISIBLE_BESIDE_WINDOW = 0.5


@dataclass(frozen=True)
class SearchSettings:
    """The settings of one search.

    Args:
        step: seconds between the starts of successive windows, of networks that score windows;
            `WindowedScorer` may round it by a tenth.
        stretch: longest stretch of strain that is searched as one, s.
        shortest: shorter stretches are left out, s.
        slides: time slides of each stretch; 0 estimates no background.
        shift: seconds by which the first time slide shifts the second detector; the n-th slide
            shifts it n times as far. None takes 1 s, or less where a stretch has no room for all
            slides.
        cluster: seconds within which only the loudest trigger is kept.
        least: triggers with a lower score are not kept; None chooses it, see `Search.least`.
        maps: draw the whitened strain of this many loudest triggers.
        batch_size: windows scored at once, of networks that score windows.
        zeros: fill the channel of a missing detector with zeros instead of noise of its design
            curve.
        seed: of that noise, and of injections.
        psd_every: s, about, for which one PSD is valid.
        gate_snr: a glitch whose SNR in one detector is larger is taken out of the strain; 0 leaves
            all in.
    """

    step: float = 0.1
    stretch: float = 512.0
    shortest: float = 0.0
    slides: int = 20
    shift: float | None = None
    cluster: float = COMPETITION.window  # windows that overlap show the same merger
    least: float | None = None
    maps: int = 3
    batch_size: int = 256
    zeros: bool = False
    seed: int = 2021
    psd_every: float = 32.0
    gate_snr: float = GATE_SNR

    def signal_reach(self, observation: Observation) -> float:
        """Return how far from a signal's trigger its strain can raise the score, s.

        A trigger at t comes from strain within a window's length of t, to either side, and a signal
        is visible for `VISIBLE_BESIDE_WINDOW` around its merger. The trigger's own time is known
        to `cluster`: the loudest of all triggers of the signal may lie so far from the merger.
        """
        return observation.window + VISIBLE_BESIDE_WINDOW + self.cluster


def check_settings(settings: SearchSettings, observation: Observation = COMPETITION) -> None:
    """Check the range of every setting for an observation.

    Raises:
        UserError: a setting is out of its range; the message names the flag of detect.py.
    """
    ConditioningSettings(settings.psd_every, settings.gate_snr)  # checks both
    for name in ("step", "stretch", "shift", "cluster", "batch_size"):
        value = getattr(settings, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise UserError(f"--{name} {value:g} must be positive")
    for name in ("slides", "maps", "shortest"):
        if not getattr(settings, name) >= 0:
            raise UserError(f"--{name} {getattr(settings, name):g} must not be negative")
    if settings.least is not None and not math.isfinite(settings.least):
        raise UserError(
            f"--least {settings.least:g} is no score: give a very low one, such as -1e9, to keep "
            f"all triggers"
        )
    rate = observation.sample_rate
    if settings.step * rate < 1:
        raise UserError(f"--step {settings.step:g} is less than one sample, 1/{rate} s")
    # Shifted by less, a real signal could still be coincident and would count as background.
    least = min_shift_seconds(observation)
    if settings.shift is not None and settings.shift < least:
        raise UserError(
            f"--shift {settings.shift:g} is within the time light needs between detectors: give "
            f"{least:g} s or more"
        )


def choose_time_slides(
    duration: float, detectors: Sequence[str], settings: SearchSettings, observation: Observation
) -> list[dict[str, float]]:
    """Return the time slides of a stretch, as many as were asked for, the unshifted strain first.

    Without --shift they are multiples of 1 s, or of less where that is needed to fit all of them
    into the stretch: shifts are then as large as the room allows.

    Args:
        duration: of the stretch, s.
        detectors: with strain; with one there is nothing to slide against.
        settings: of the search.
        observation: says how long light takes between detectors.

    Raises:
        UserError: there is no room for so many slides.
    """
    wanted = settings.slides
    if len(detectors) < 2:
        return [{}]
    if settings.shift is not None:
        slides = list_time_slides(duration, detectors, wanted, settings.shift)
        if len(slides) == 1 + wanted:
            return slides
        raise UserError(
            f"--slides {wanted}: a stretch of {duration:g} s has room for {len(slides) - 1} time "
            f"slides by multiples of {settings.shift:g} s: ask for no more, give a smaller --shift "
            f"or leave it out, or leave shorter stretches out with --shortest"
        )
    slides = fit_time_slides(duration, detectors, settings, observation)
    if len(slides) == 1 + wanted:
        return slides
    raise UserError(
        f"--slides {wanted}: a stretch of {duration:g} s has room for {len(slides) - 1} time "
        f"slides, as shifts must be {shortest_shift(observation):g} s or more: ask for no more, or "
        f"leave shorter stretches out with --shortest"
    )


def fit_time_slides(
    duration: float, detectors: Sequence[str], settings: SearchSettings, observation: Observation
) -> list[dict[str, float]]:
    """Return the time slides of a stretch, fewer than were asked for where there is no room.

    See `choose_time_slides` for arguments and shifts.
    """
    if settings.shift is not None:
        return list_time_slides(duration, detectors, settings.slides, settings.shift)
    # A few more than asked for, as some shifts bring two of three detectors together. Rounded down
    # to milliseconds, so that shifts are numbers that can be typed.
    room = math.floor(1000 * duration / (settings.slides + 4)) / 1000
    shift = max(min(PREFERRED_SHIFT, room), shortest_shift(observation))
    return list_time_slides(duration, detectors, settings.slides, shift)


def shortest_shift(observation: Observation) -> float:
    """Return the shortest shift of a time slide, s: that of light, and a sample at least."""
    return max(min_shift_seconds(observation), 1 / observation.sample_rate)
