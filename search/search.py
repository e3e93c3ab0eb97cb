"""A search through strain of any length: windows, candidates, and how often noise does the same.

The strain is taken in stretches of some minutes. Each is conditioned and whitened by its own PSD,
its windows are scored, and it is forgotten, so that hours need no more memory than minutes. A
second pass shifts the detectors against one another by more than light needs between them: what
is as loud then is no gravitational wave, and counts the false alarms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from physics.constants import DETECTORS, MERGER_TIME, NUM_SAMPLES, SAMPLE_RATE, WINDOW_SECONDS
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.seeds import counted_seed
from search.conditioning import condition, design_noise, whitening_of
from search.strain_files import Recording

LIGHT_TRAVEL = 0.03  # s, more than the 27 ms from Virgo to Hanford
MIN_OVERLAP = 24.0  # s of strain common to all detectors: 16 s for the PSD, 2 s lost to filters
HISTOGRAM = np.linspace(-40, 60, 2001)  # logits
ENVELOPE = 1500  # bins of time in the plot


@dataclass(frozen=True)
class Options:
    """How to search.

    Args:
        step: s between windows.
        stretch: s of strain with one PSD.
        slides: shifts of each stretch.
        shift: s of the first slide; the n-th is n times as far.
        cluster: s within which only the loudest window is a candidate.
        top: candidates to keep.
        exclude: of these so many loudest, leave the windows out of the slides.
        maps: of these so many loudest, keep the whitened strain.
        batch_size: windows scored at once.
        zeros: what a missing detector is filled with: silence, or else noise of its design curve.
        seed: of that noise.
    """

    step: float = 0.1
    stretch: float = 512.0
    slides: int = 20
    shift: float = 1.0
    cluster: float = WINDOW_SECONDS  # windows that overlap show the same
    top: int = 20
    exclude: int = 0
    maps: int = 3
    batch_size: int = 256
    zeros: bool = False
    seed: int = 2021


@dataclass
class Candidate:
    """A window louder than its neighbours."""

    score: float  # mean logit
    window: int  # its number
    time: float  # GPS of the supposed merger, s
    slid_as_loud: int = 0
    rate: float = math.nan  # false alarms as loud, per s
    whitened: dict[str, np.ndarray] = field(default_factory=dict)  # detector: (4096,)
    whitened_start: float = math.nan  # GPS, s


@dataclass
class Outcome:
    """What a search found."""

    start: float  # GPS, s
    end: float
    detectors: tuple[str, ...]
    candidates: list[Candidate] = field(default_factory=list)  # the loudest first
    windows: int = 0  # that fit
    scored: int = 0  # of them without a gap
    clusters: int = 0  # candidates, also those not kept
    stretches: int = 0
    skipped_stretches: int = 0
    slid: int = 0  # slid windows scored
    slid_clusters: int = 0
    slid_loudest: float = -math.inf  # score of the loudest slid candidate
    live: float = 0.0  # s searched
    slid_live: float = 0.0  # s of slides
    gaps: dict[str, int] = field(default_factory=dict)  # windows that each detector spoils
    envelope: np.ndarray = field(default_factory=lambda: np.full(ENVELOPE, -np.inf))
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(2000, np.int64))
    slid_histogram: np.ndarray = field(default_factory=lambda: np.zeros(2000, np.int64))


@dataclass
class Stretch:
    """Strain with one PSD, ready to be scored."""

    first: int  # number of its first window
    starts: np.ndarray  # (windows,) first samples
    strain: np.ndarray  # (detector, samples) float32 in 1e-21
    clean: np.ndarray  # (present detector, windows) whether no gap touches it
    whitening: dict[str, np.ndarray]  # (4096, 4096) of each detector present


# --- candidates ------------------------------------------------------------------------------


def local_peaks(scores: np.ndarray, reach: int) -> np.ndarray:
    """Return the places (n,) of scores (windows,) that none within `reach` places exceeds.

    Of equals within reach the first is taken. NaN is no score.
    """
    values = np.where(np.isfinite(scores), scores, -np.inf)
    edge = np.full(reach, -np.inf)
    padded = np.concatenate([edge, values, edge])
    # top[i] is the largest of values[i - reach : i], as far as there are some
    top = np.lib.stride_tricks.sliding_window_view(padded, reach).max(axis=1)
    before, after = top[: len(values)], top[reach + 1 :]
    return np.flatnonzero((values > before) & (values >= after))


class PeakFinder:
    """`local_peaks` of a row that comes in pieces.

    Args:
        reach: windows within which only the loudest counts.
    """

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self.tail = np.empty(0)  # what the next peaks must still be compared with
        self.first = 0  # number of the tail's first window
        self.decided = 0  # number of windows of which it is known whether they are peaks

    def push(self, scores: np.ndarray, end: bool = False) -> list[tuple[int, float]]:
        """Take the next scores; return (number, score) of peaks that nothing can still exceed."""
        values = np.concatenate([self.tail, scores])
        known = self.first + len(values) - (0 if end else self.reach)
        numbers = self.first + local_peaks(values, self.reach)
        numbers = numbers[(numbers >= self.decided) & (numbers < known)]
        found = [(int(number), float(values[number - self.first])) for number in numbers]
        self.decided = max(known, self.decided)
        cut = max(len(values) - 2 * self.reach, 0)
        self.tail, self.first = values[cut:], self.first + cut
        return found


# --- the search ------------------------------------------------------------------------------


class Search:
    """A search through the strain that all given detectors have.

    Args:
        recordings: one a detector; at least one.
        scorer: has `adapt(whitening)` and `release()`, and called with windows (batch, 3, 4096) in
            1e-21 returns scores (batch,).
        options: how.

    Raises:
        UserError: an option is out of its range, or the recordings hardly overlap.
    """

    def __init__(
        self, recordings: Mapping[str, Recording], scorer: Callable, options: Options
    ) -> None:
        check_options(options)
        self.recordings, self.scorer, self.options = dict(recordings), scorer, options
        self.present = tuple(name for name in DETECTORS if name in recordings)
        self.start = max(recording.start for recording in recordings.values())
        self.end = min(recording.end for recording in recordings.values())
        if self.end - self.start < MIN_OVERLAP:
            spans = ", ".join(
                f"{name} {recording.start:.0f} to {recording.end:.0f}"
                for name, recording in self.recordings.items()
            )
            raise UserError(
                f"the strain of all detectors overlaps for {max(self.end - self.start, 0):g} s "
                f"(GPS: {spans}) and {MIN_OVERLAP:g} s are needed: give files of the same time"
            )
        samples = int((self.end - self.start) * SAMPLE_RATE)
        # the last window that fits, plus one; at(k) = round(k step 2048)
        self.windows = int((samples - NUM_SAMPLES) / (options.step * SAMPLE_RATE)) + 1
        count = max(1, round((self.end - self.start) / options.stretch))
        edges = np.linspace(0, self.windows, min(count, self.windows) + 1).round().astype(int)
        self.bounds = [(int(low), int(high)) for low, high in itertools.pairwise(edges)]
        self.peak_reach = max(round(options.cluster / options.step), 1)
        self.held: Stretch | None = None  # the only one, so that the second pass has it still
        self.adapted = -1  # number of the stretch that the scorer is adapted to
        self.outcome = Outcome(
            self.start, self.end, self.present, windows=self.windows, stretches=len(self.bounds)
        )

    def window_start(self, number: int | np.ndarray) -> np.ndarray:
        """Return the first sample of a window, from the start of the search."""
        return np.round(np.asarray(number) * self.options.step * SAMPLE_RATE).astype(np.int64)

    def merger_time(self, number: int) -> float:
        """Return the GPS time at which a merger would be that this window shows best."""
        return self.start + int(self.window_start(number)) / SAMPLE_RATE + MERGER_TIME

    def load(self, index: int) -> Stretch | None:
        """Return a stretch, conditioned, and how to whiten it; None where it has too few data."""
        if self.held is not None:
            return self.held
        self.scorer.release()  # before the new matrices are made
        self.adapted = -1
        at = self.window_start(np.arange(*self.bounds[index]))
        begin, samples = int(at[0]), int(at[-1] - at[0]) + NUM_SAMPLES
        start = self.start + begin / SAMPLE_RATE
        strain = np.zeros((len(DETECTORS), samples), np.float32)
        whitening, clean = {}, []
        for row, name in enumerate(DETECTORS):
            if name not in self.recordings:
                if not self.options.zeros:
                    seed = counted_seed(self.options.seed, "filler", name, index)
                    strain[row] = design_noise(name, samples, np.random.default_rng(seed))
                continue
            strain[row] = condition(self.recordings[name], start, samples)
            matrix = whitening_of(strain[row])
            if matrix is None:
                LOGGER.warning(
                    f"GPS {start:.0f} to {start + samples / SAMPLE_RATE:.0f}: less than 16 s of "
                    f"{name} are without gaps, too few for a PSD; not searched"
                )
                return None
            whitening[name] = matrix
            bad = np.concatenate([[0], np.cumsum(~np.isfinite(strain[row]))])
            clean.append(bad[at - begin + NUM_SAMPLES] == bad[at - begin])
        stretch = Stretch(self.bounds[index][0], at - begin, strain, np.stack(clean), whitening)
        if len(self.bounds) == 1:
            self.held = stretch
        return stretch

    def adapt(self, index: int, stretch: Stretch) -> None:
        """Have the scorer whiten as this stretch needs it."""
        if self.adapted != index:
            self.scorer.adapt(stretch.whitening)
            self.adapted = index

    def scores(self, stretch: Stretch, columns: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Return scores (windows,), NaN where a window is not clean or not allowed.

        Args:
            stretch: whose windows; the scorer is adapted to it.
            columns: (present detector, windows), which of its windows each detector shows.
            allowed: (present detector, windows), of the detector's own windows.
        """
        usable = np.ones(columns.shape[1], bool)
        for row, column in enumerate(columns):
            usable &= (stretch.clean[row] & allowed[row])[column]
        result = np.full(columns.shape[1], np.nan)
        views = np.lib.stride_tricks.sliding_window_view(stretch.strain, NUM_SAMPLES, axis=1)
        for part in batches(np.flatnonzero(usable), self.options.batch_size):
            batch = np.empty((len(part), len(DETECTORS), NUM_SAMPLES), np.float32)
            row = 0
            for channel, name in enumerate(DETECTORS):
                shown = part
                if name in self.recordings:
                    shown = columns[row][part]
                    row += 1
                batch[:, channel] = views[channel, stretch.starts[shown]]
            result[part] = self.scorer(batch)
        return result

    # --- first pass: what is there --------------------------------------------------------------

    def run(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Score every window; yield (merger times, scores), those skipped left out, by stretch.

        `outcome` holds the candidates when it has ended.
        """
        out, finder = self.outcome, PeakFinder(self.peak_reach)
        for index, (low, high) in enumerate(self.bounds):
            stretch = self.load(index)
            scores = np.full(high - low, np.nan)
            if stretch is None:
                out.skipped_stretches += 1
            else:
                self.adapt(index, stretch)
                columns = np.tile(np.arange(high - low), (len(self.present), 1))
                scores = self.scores(stretch, columns, np.ones_like(columns, bool))
                for name, clean in zip(self.present, stretch.clean, strict=True):
                    out.gaps[name] = out.gaps.get(name, 0) + int((~clean).sum())
            del stretch
            self.keep(finder.push(scores, end=high == self.windows))
            numbers = np.flatnonzero(np.isfinite(scores))
            out.scored += len(numbers)
            times = self.start + self.window_start(low + numbers) / SAMPLE_RATE + MERGER_TIME
            bins = (low + numbers) * ENVELOPE // self.windows
            np.maximum.at(out.envelope, bins, scores[numbers])
            yield times, scores[numbers]
        out.live = out.scored * self.options.step
        if not out.scored:
            raise UserError(
                "no window could be searched: the strain of all detectors together has no 16 s "
                "without gaps; give a longer file, or leave out the detector with the gaps"
            )

    def keep(self, peaks: list[tuple[int, float]]) -> None:
        """Add to the candidates; keep the loudest."""
        out = self.outcome
        out.clusters += len(peaks)
        out.histogram += counted(np.array([score for _, score in peaks]))
        new = [Candidate(score, number, self.merger_time(number)) for number, score in peaks]
        out.candidates = sorted(out.candidates + new, key=lambda one: -one.score)
        del out.candidates[self.options.top :]

    # --- second pass: what chance does ----------------------------------------------------------

    def slides_of(self, windows: int) -> list[list[int]]:
        """Return the shifts of a stretch, in windows, of each present detector.

        A stretch is closed to a ring. The second detector is shifted by n times the shift, the
        third by twice as much, so that no two stand still against one another.
        """
        unit = max(math.ceil(self.options.shift / self.options.step - 1e-9), 1)
        others = range(1, len(self.present))
        slides = []
        for number in range(1, self.options.slides + 1):
            shifts = [0, *(other * number * unit for other in others)]
            pairs = [(a - b) % windows for a in shifts for b in shifts if a > b]
            if number * unit > windows - unit:  # once round the ring
                break
            if pairs and all(unit <= pair <= windows - unit for pair in pairs):
                slides.append(shifts)
        return slides

    def count_false_alarms(self) -> Iterator[int]:
        """Score shifted strain and give every candidate its rate; yield after each stretch."""
        out = self.outcome
        left_out = [candidate.time for candidate in out.candidates[: self.options.exclude]]
        mapped = out.candidates[: self.options.maps]
        as_loud = np.zeros(len(out.candidates), np.int64)
        levels = np.array([candidate.score for candidate in out.candidates])
        for index, (low, high) in enumerate(self.bounds):
            slides = self.slides_of(high - low)
            here = [candidate for candidate in mapped if low <= candidate.window < high]
            stretch = self.load(index) if slides or here else None
            if stretch is not None:
                for candidate in here:
                    self.whiten(stretch, candidate)
                times = self.start + self.window_start(np.arange(low, high)) / SAMPLE_RATE
                allowed = np.ones((len(self.present), high - low), bool)
                for time in left_out:  # every window with the merger or the last of the inspiral
                    allowed &= (times < time - WINDOW_SECONDS) | (times > time + 0.5)
                if slides:
                    self.adapt(index, stretch)
                for shifts in slides:
                    columns = np.stack([(np.arange(high - low) + m) % (high - low) for m in shifts])
                    scores = self.scores(stretch, columns, allowed)
                    peaks = scores[local_peaks(scores, self.peak_reach)]
                    out.slid += int(np.isfinite(scores).sum())
                    out.slid_clusters += len(peaks)
                    out.slid_loudest = max(out.slid_loudest, *peaks.tolist(), -math.inf)
                    out.slid_histogram += counted(peaks)
                    as_loud += (peaks[:, None] >= levels).sum(0)
            yield index
        out.slid_live = out.slid * self.options.step
        for candidate, count in zip(out.candidates, as_loud, strict=True):
            candidate.slid_as_loud = int(count)
            if out.slid_live:
                candidate.rate = (1 + int(count)) / out.slid_live

    def whiten(self, stretch: Stretch, candidate: Candidate) -> None:
        """Keep the whitened strain around a candidate, its merger in the middle if there is room.

        Where that would touch the stretch's end or a gap, the scored window itself is kept.
        """
        place = int(stretch.starts[candidate.window - stretch.first])
        middle = place + int((MERGER_TIME - WINDOW_SECONDS / 2) * SAMPLE_RATE)
        rows = [DETECTORS.index(name) for name in self.present]
        cut = stretch.strain[rows, middle : middle + NUM_SAMPLES]
        if cut.shape[1] < NUM_SAMPLES or not np.isfinite(cut).all():
            middle = place
            cut = stretch.strain[rows, place : place + NUM_SAMPLES]
        origin = self.start + int(self.window_start(stretch.first)) / SAMPLE_RATE
        candidate.whitened_start = origin + middle / SAMPLE_RATE
        candidate.whitened = {
            name: stretch.whitening[name] @ row.astype(np.float64)
            for name, row in zip(self.present, cut, strict=True)
        }


def counted(scores: np.ndarray) -> np.ndarray:
    """Return how many scores fall into each bin of `HISTOGRAM`; the outermost take the rest."""
    edges = HISTOGRAM
    return np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0]


def batches(places: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for first in range(0, len(places), size):
        yield places[first : first + size]


def check_options(options: Options) -> None:
    """Raise a `UserError` for an option out of its range."""
    positive = ("step", "stretch", "shift", "cluster", "top", "batch_size")
    for name in positive:
        value = getattr(options, name)
        if not (value > 0 and math.isfinite(value)):
            raise UserError(f"--{name} {value:g} must be positive")
    for name in ("slides", "exclude", "maps"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name} {getattr(options, name)} must not be negative")
    if options.stretch < 2 * MIN_OVERLAP:
        raise UserError(
            f"--stretch {options.stretch:g} is too short for a PSD: give {2 * MIN_OVERLAP:g} s or "
            f"more"
        )
    if options.step * SAMPLE_RATE < 1:
        raise UserError(f"--step {options.step:g} is less than one sample, 1/{SAMPLE_RATE} s")
    if options.shift < LIGHT_TRAVEL:
        raise UserError(
            f"--shift {options.shift:g} is within the time light needs between detectors: give "
            f"{LIGHT_TRAVEL:g} s or more"
        )
