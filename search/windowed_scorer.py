"""Peaks of networks that need windows: every window of a stretch is scored.

What does not depend on the other detectors is computed once: the windows of each detector are
whitened in `prepare`, and a time slide puts them together anew. Networks with a branch for each
detector run these once as well, and a time slide runs what follows where the detectors meet. The
rest of the transforms and other networks see windows of all detectors, and run for every slide.

Memory: what is computed once for a stretch is kept if it fits `KEPT_BYTES`, which are half an hour
of three detectors for ten windows of 2,048 samples a second. Otherwise every slide computes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from experiments.side_targets import MERGER_TIME
from physics.constants import STRAIN_UNIT
from runtime.seeds import counted_seed
from search.conditioning import make_design_noise
from search.peaks import Peaks
from search.spectral_whitening import robust_scale
from signal_transforms.whitening_operators import covariance_root

if TYPE_CHECKING:
    from data.tracked_psds import TrackedPSD
    from search.conditioned_stretch import ConditionedStretch
    from search.window_scorer import WindowScorer

KEPT_BYTES = 2**29
SCALED_WINDOWS = 256  # of a stretch, that the scale of its whitening is measured in


class WindowedScorer:
    """Peaks of a `WindowScorer`'s mean logit: one for each local maximum among the windows.

    Args:
        scorer: of windows.
        arrival: of the merger that a window shows best, s after the window begins.
        step: seconds between the starts of successive windows.
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
        self.stretch: ConditionedStretch | None = None
        self.starts = np.empty(0, np.int64)  # first samples of the windows
        self.clean: dict[str, np.ndarray] = {}  # by detector with strain, (windows,) bool
        self.strain = np.empty((0, 0), np.float32)  # (detector, samples)
        # By channel: conditioned windows, or what the networks compute of each detector alone.
        self.kept: list[dict[str, Tensor]] | None = None
        self.is_apart = False

    def prepare(self, stretch: ConditionedStretch) -> None:
        """Whiten the windows of a stretch; what was prepared before is forgotten."""
        self.scorer.release()  # two sets of matrices at a time would be the peak of memory
        self.stretch, self.kept = stretch, None
        observation, size = self.observation, self.observation.num_samples
        samples = len(next(iter(stretch.strain.values())))
        count = int((samples - size) / (self.step * stretch.rate)) + 1 if samples >= size else 0
        self.starts = np.round(np.arange(count) * self.step * stretch.rate).astype(np.int64)
        self.strain = np.zeros((observation.num_detectors, samples), np.float32)
        whitening, self.clean = {}, {}
        for channel, name in enumerate(observation.detectors):
            if name in stretch.stretch.detectors:
                self.strain[channel] = stretch.strain[name]
                # bad[i] counts the unusable samples before sample i: a window is clean where the
                # count is the same at both of its ends.
                bad = np.concatenate([[0], np.cumsum(~stretch.usable[name])])
                self.clean[name] = bad[self.starts + size] == bad[self.starts]
                whitening[name] = self.whitening_matrix(channel, stretch.psds[name])
            elif not self.zeros:
                seed = counted_seed(self.seed, "filler", name, stretch.stretch.number)
                rng = np.random.default_rng(seed)
                self.strain[channel] = make_design_noise(name, samples, rng, observation)
        self.scorer.adapt(whitening)
        if count:
            self.keep_conditioned()

    def whitening_matrix(self, channel: int, psds: Sequence[TrackedPSD]) -> np.ndarray:
        """Return C^(-1/2) of a detector in this stretch, scaled to unit variance.

        A window needs one matrix, which takes seconds to compute: it is that of the mean, over
        time, of the logarithm of the PSD. The scale is measured in windows all over the stretch.
        """
        n, rate = self.observation.num_samples, self.observation.sample_rate
        seconds = np.array([psd.end - psd.start for psd in psds])
        logs = np.stack([np.log(psd.power) for psd in psds])  # (psd, n + 1)
        power = np.exp(seconds @ logs / seconds.sum())
        matrix = covariance_root(power, n, rate)
        clean = np.flatnonzero(self.clean[self.observation.detectors[channel]])
        some = self.starts[clean[:: max(len(clean) // SCALED_WINDOWS, 1)]]
        rows = np.stack([self.strain[channel, s : s + n] for s in some]) if len(some) else None
        return matrix if rows is None else matrix / robust_scale((rows @ matrix).ravel())

    def cut_windows(self, shown: np.ndarray) -> np.ndarray:
        """Return windows in which each channel shows one of its own: (D, n) -> (n, D, time)."""
        size = self.observation.num_samples
        views = np.lib.stride_tricks.sliding_window_view(self.strain, size, axis=1)
        cut = [views[c, self.starts[numbers]] for c, numbers in enumerate(shown)]
        return np.stack(cut, axis=1)

    @torch.inference_mode()
    def condition(self, shown: np.ndarray) -> dict[str, Tensor]:
        """Return such windows whitened, or recoloured, by field of the batch."""
        strain = torch.from_numpy(self.cut_windows(shown)).to(self.scorer.device) * STRAIN_UNIT
        return self.scorer.conditioning({"waveform": strain})

    def keep_conditioned(self) -> None:
        """Keep what is computed of each detector alone in all windows, if it fits `KEPT_BYTES`."""
        detectors, count = len(self.strain), len(self.starts)

        def compute(numbers: np.ndarray) -> dict[str, Tensor]:
            windows = self.condition(np.tile(numbers, (detectors, 1)))
            return self.scorer.apart(windows) if self.is_apart else windows

        def size() -> int:
            one = compute(np.zeros(1, np.int64)).values()
            return count * sum(value.element_size() * value.numel() for value in one)

        self.is_apart = self.scorer.detectors_meet_late
        if self.is_apart and size() > KEPT_BYTES:
            self.is_apart = False  # whitened windows may be smaller
        if not self.is_apart and size() > KEPT_BYTES:
            return
        parts = [compute(part) for part in self.batches(count)]
        # (n, D, ...) -> by channel (n, ...)
        self.kept = [
            {key: torch.cat([part[key][:, c] for part in parts]) for key in parts[0]}
            for c in range(detectors)
        ]

    def batches(self, count: int) -> list[np.ndarray]:
        """Return the numbers 0 to count - 1 in batches."""
        edges = range(self.batch_size, count, self.batch_size)
        return np.split(np.arange(count), edges)

    def shown_windows(self, shifts: Mapping[str, float]) -> np.ndarray:
        """Return which window each channel shows at each window of a slide, (D, windows)."""
        count = len(self.starts)
        rows = []
        for name in self.observation.detectors:
            # the noise that stands for a missing detector is not shifted
            shift = round(shifts.get(name, 0.0) / self.step) if name in self.clean else 0
            rows.append((np.arange(count) + shift) % max(count, 1))
        return np.stack(rows)

    def usable_windows(self, shown: np.ndarray) -> np.ndarray:
        """Return the windows of a slide that no detector's gap touches, (windows,) bool."""
        detectors = self.observation.detectors
        rows = [self.clean[name][shown[detectors.index(name)]] for name in self.clean]
        return np.logical_and.reduce(rows)

    def live_time(self, shifts: Mapping[str, float]) -> float:
        """Return for how many seconds of the stretch there is a score with these shifts."""
        return float(self.usable_windows(self.shown_windows(shifts)).sum() * self.step)

    def window_scores(self, shifts: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of all windows and their side targets.

        Returns:
            (windows,), -inf where a gap touches a window, and (windows, S), NaN there.
        """
        shown = self.shown_windows(shifts)
        numbers = np.flatnonzero(self.usable_windows(shown))
        scores = np.full(len(self.starts), -np.inf)
        sides = np.full((len(scores), len(self.side_names)), np.nan)
        for part in self.batches(len(numbers)):
            windows = numbers[part]
            if not len(windows):
                continue
            if self.kept is None:
                batch = self.condition(shown[:, windows])
            else:
                batch = {
                    key: torch.stack(
                        [
                            kept[key][own]
                            for kept, own in zip(self.kept, shown[:, windows], strict=True)
                        ],
                        dim=1,
                    )
                    for key in self.kept[0]
                }
            score = self.scorer.score_apart if self.is_apart else self.scorer.score_conditioned
            scores[windows], sides[windows] = score(batch)
        return scores, sides

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
        starts = self.starts[found] / self.observation.sample_rate
        begins = self.stretch.stretch.start + starts  # GPS
        sides = sides[found]
        if MERGER_TIME in self.side_names:
            # Networks count it from the beginning of a window.
            sides[:, self.side_names.index(MERGER_TIME)] += begins
        return Peaks.of_scores(
            begins + self.arrival, scores[found], self.observation.num_detectors, sides
        )
