"""Peaks of networks that need windows: every window of a stretch is scored.

What the windows of a stretch share is computed once: the whitening (search/stretch_windows.py), and
the first part of a network that sees a short time at a time (search/local_front.py). Where that
part is of each detector alone, such as a branch or a spectrogram, it serves all time slides, and a
slide runs what follows. Where it sees all detectors, every slide runs it over the slid stretch. The
rest of a network, further transforms and views are computed window by window.

Memory: what is of each detector alone is kept for all slides of a stretch if it fits
`KEPT_FEATURES_BYTES`. Otherwise every slide runs whole networks, window by window.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from experiments.side_targets import MERGER_TIME
from runtime.seeds import counted_seed
from search.conditioning import make_design_noise
from search.front_choice import place_windows
from search.peaks import Peaks
from search.stretch_features import StretchFeatures, piece_of_windows
from search.stretch_windows import RecolouredWindows, WhitenedWindows

if TYPE_CHECKING:
    from search.conditioned_stretch import ConditionedStretch
    from search.front_choice import LocalFront
    from search.window_scorer import WindowScorer

KEPT_FEATURES_BYTES = 2**29


class WindowedScorer:
    """Peaks of a `WindowScorer`'s mean logit: one for each local maximum among the windows.

    Args:
        scorer: of windows.
        arrival: of the merger that a window shows best, s after the window begins.
        step: seconds between the starts of successive windows. Where a part of the networks that
            sees all detectors runs over whole stretches, it is rounded to the columns of that part,
            by a tenth at most.
        zeros: fill the channel of a missing detector with zeros, rather than with noise of its
            design curve.
        batch_size: windows scored at once.
        seed: of that noise.
    """

    def __init__(
        self,
        scorer: WindowScorer,
        arrival: float,
        step: float = 0.1,
        zeros: bool = False,
        batch_size: int = 256,
        seed: int = 2021,
    ) -> None:
        self.scorer, self.observation = scorer, scorer.observation
        self.step, self.zeros, self.batch_size, self.seed = step, zeros, batch_size, seed
        self.arrival, self.side_names = arrival, scorer.side_names
        self.fronts: list[LocalFront] = scorer.choose_fronts(step)
        # Windows begin at multiples of so many samples.
        self.grid = scorer.decimation
        if self.fronts:
            self.step = self.fronts[0].hop * self.grid / self.observation.sample_rate
            self.grid *= self.fronts[0].reach.stride
        self.ring = 1  # steps after which shifted strain begins anew
        self.stretch: ConditionedStretch | None = None
        self.starts = np.empty(0, np.int64)  # first samples of the windows
        self.clean: dict[str, np.ndarray] = {}  # by detector with strain, (windows,) bool
        self.windows: WhitenedWindows | RecolouredWindows | None = None
        self.features: list[StretchFeatures] | None = None  # of each network, for all slides

    def prepare(self, stretch: ConditionedStretch) -> None:
        """Compute what the windows of a stretch share; what was prepared before is forgotten."""
        self.windows = self.features = None
        self.stretch = stretch
        observation, size = self.observation, self.observation.num_samples
        samples = len(next(iter(stretch.strain.values())))
        hop, last = self.step * stretch.rate, (samples - size) // self.grid * self.grid
        count = int(last / hop) + 1 if samples >= size else 0
        self.starts = place_windows(count, hop, self.grid)
        self.ring = max(round(samples / hop), count, 1)
        strain, self.clean = np.zeros((observation.num_detectors, samples), np.float32), {}
        for channel, name in enumerate(observation.detectors):
            if name in stretch.stretch.detectors:
                strain[channel] = stretch.strain[name]
                # bad[i] counts the unusable samples before sample i: a window is clean where the
                # count is the same at both of its ends.
                bad = np.concatenate([[0], np.cumsum(~stretch.usable[name])])
                self.clean[name] = bad[self.starts + size] == bad[self.starts]
            elif not self.zeros:
                seed = counted_seed(self.seed, "filler", name, stretch.stretch.number)
                rng = np.random.default_rng(seed)
                strain[channel] = make_design_noise(name, samples, rng, observation)
        whitenings, device = self.scorer.whitenings, self.scorer.device
        if whitenings is None:
            self.windows = RecolouredWindows(
                self.scorer, stretch, strain, self.starts, self.clean, self.batch_size
            )
        else:
            self.windows = WhitenedWindows(whitenings, stretch, strain, self.starts, device)
        if self.fronts and count:
            self.keep_features()

    def series(self) -> Tensor:
        """Return the whitened strain that fronts take, (D, samples)."""
        (series,) = self.windows.series.values()
        return series

    @torch.inference_mode()
    def keep_features(self) -> None:
        """Keep what networks compute of each detector alone, if it fits `KEPT_FEATURES_BYTES`."""
        reach, starts = self.fronts[0].reach, self.starts // self.scorer.decimation
        size = len(self.fronts) * reach.count_bytes(len(starts), int(starts[-1]))
        if reach.is_apart and size <= KEPT_FEATURES_BYTES:
            self.features = [
                StretchFeatures(each.front, reach, self.series(), starts, self.batch_size)
                for each in self.fronts
            ]

    def shown_windows(self, shifts: Mapping[str, float]) -> np.ndarray:
        """Return which window each channel shows at each window of a slide, (D, windows).

        The stretch is closed to a ring of all its samples. No window begins near its end, where the
        ring is closed: numbers from that of the windows on stand for none.
        """
        steps = self.steps_of(shifts)
        # The noise that stands for a missing detector is not shifted.
        offsets = [steps.get(name, 0) for name in self.observation.detectors]
        shown = (np.arange(len(self.starts)) + np.array(offsets)[:, None]) % self.ring
        for one, other in itertools.combinations(steps, 2):
            together = (steps[one] - steps[other]) % self.ring == 0
            if together and shifts.get(one, 0.0) != shifts.get(other, 0.0):
                # Rounded to steps, they show what they recorded together: no background.
                shown[:] = len(self.starts)
        return shown

    def steps_of(self, shifts: Mapping[str, float]) -> dict[str, int]:
        """Return the shift of each detector with strain in whole steps."""
        return {name: round(shifts.get(name, 0.0) / self.step) for name in self.clean}

    def applied_shifts(self, shifts: Mapping[str, float]) -> dict[str, float]:
        """Return by how much the detectors are shifted where these shifts are asked for, s."""
        steps = self.steps_of(shifts)
        return {name: steps[name] * self.step for name in shifts if name in steps}

    def usable_windows(self, shown: np.ndarray) -> np.ndarray:
        """Return the windows of a slide that no detector's gap touches, (windows,) bool."""
        usable = (shown < len(self.starts)).all(axis=0)
        for name, clean in self.clean.items():
            own = shown[self.observation.detectors.index(name)]
            usable[usable] = clean[own[usable]]
        return usable

    def live_time(self, shifts: Mapping[str, float]) -> float:
        """Return for how many seconds of the stretch there is a score with these shifts."""
        return float(self.usable_windows(self.shown_windows(shifts)).sum() * self.step)

    def window_scores(self, shifts: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of all windows and their side targets.

        Returns:
            (windows,), -inf where a gap touches a window, and (windows, S), NaN there.
        """
        shown = self.shown_windows(shifts)
        scores = np.full(len(self.starts), -np.inf)
        sides = np.full((len(scores), len(self.side_names)), np.nan)
        for numbers in self.batches(shown):
            scores[numbers], sides[numbers] = self.score(shown[:, numbers])
        return scores, sides

    def batches(self, shown: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the numbers of the usable windows of a slide in batches.

        Where a front runs over the slid stretch, the windows of a batch follow one another in all
        detectors.
        """
        numbers = np.flatnonzero(self.usable_windows(shown))
        runs = [numbers]
        if self.fronts and not self.fronts[0].reach.is_apart:
            follows = (np.diff(shown[:, numbers], axis=1) == 1).all(axis=0)
            runs = np.split(numbers, np.flatnonzero(~follows) + 1)
        for run in runs:
            for first in range(0, len(run), self.batch_size):
                yield run[first : first + self.batch_size]

    @torch.inference_mode()
    def score(self, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score windows in which each channel shows one of its own, (D, n)."""
        if self.features is not None:
            features = [each.take(shown) for each in self.features]
        elif self.runs_over_stretch(shown.shape[1]):
            features = [self.features_of_run(front, shown) for front in self.fronts]
        else:
            return self.scorer.score_conditioned(self.windows.cut(shown))
        return self.scorer.score_features(self.fronts, features)

    def runs_over_stretch(self, count: int) -> bool:
        """Whether a front takes fewer samples of successive windows together than one by one."""
        if not self.fronts or self.fronts[0].reach.is_apart:
            return False
        reach, hop = self.fronts[0].reach, self.fronts[0].hop
        piece = piece_of_windows(count, self.batch_size)
        together = (piece - 1) * hop + reach.samples + 2 * count * reach.strip
        return together < count * reach.samples

    def features_of_run(self, front: LocalFront, shown: np.ndarray) -> Tensor:
        """Return what a front makes of windows that follow one another in all channels."""
        starts = self.starts[shown] // self.scorer.decimation  # (D, n), evenly spaced
        count, begins, series = shown.shape[1], starts[:, 0], self.series()
        length = starts[0, -1] - starts[0, 0] + front.reach.samples
        # D times (samples,) -> (D, length), slid against each other
        slid = torch.stack(
            [row[begin : begin + length] for row, begin in zip(series, begins, strict=True)]
        )
        own = starts[0] - begins[0]
        features = StretchFeatures(front.front, front.reach, slid, own, self.batch_size)
        return features.take(np.tile(np.arange(count), (len(shown), 1)))

    def peaks(self, shifts: Mapping[str, float], least: float) -> Peaks:
        """Return the local maxima with a score of at least `least`; see `StretchScorer`.

        A maximum is no lower than the windows that overlap its own by half or more. Shifts are
        rounded to whole steps.
        """
        from scipy.ndimage import maximum_filter1d

        scores, sides = self.window_scores(shifts)
        if not len(scores):
            return Peaks.without_any(self.observation.num_detectors, len(self.side_names))
        reach = max(round(self.observation.window / 2 / self.step), 1)
        largest = maximum_filter1d(scores, 2 * reach + 1, mode="constant", cval=-np.inf)
        found = np.flatnonzero((scores == largest) & (scores >= least) & np.isfinite(scores))
        # Windows that are equally loud, as they show one signal, are one peak, in their middle.
        groups = np.split(found, np.flatnonzero(np.diff(found) > reach) + 1)
        found = np.array([group[len(group) // 2] for group in groups if len(group)], np.int64)
        starts = self.starts[found] / self.observation.sample_rate
        begins = self.stretch.stretch.start + starts  # GPS
        sides = sides[found]
        if MERGER_TIME in self.side_names:
            # Networks count it from the beginning of a window.
            sides[:, self.side_names.index(MERGER_TIME)] += begins
        return Peaks.of_scores(
            begins + self.arrival, scores[found], self.observation.num_detectors, sides
        )
