"""Peaks of a filter bank's statistic in a whole stretch of strain.

`prepare` whitens a stretch and filters each detector once. `peaks` combines the detectors, shifted
against one another or not. Only blocks in which the largest powers of all detectors, of the same
template, could amount to a peak are combined at all: an upper bound decides, see
`LikelihoodRatio.summary`. There the ratio is computed at every tick, and around each peak
between ticks as well (see peak_refinement.py).

The score of a peak is that of a window of the network whose range of arrival times is centred on
the peak. A network whose range is longer than a block keeps its average over all of that range: the
sum over the times of a peak is divided by the number of ticks of the network's window, as trained.

Tolerance against windows of the network, whitened by C^(-1/2): see tests/search/.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from search.bank_statistics import BankStatistic, bank_of_channel
from search.consistency import consistency_of_peaks
from search.filter_outputs import DetectorOutputs, Summary
from search.glitch_screen import find_suspected_ticks
from search.peak_refinement import Fineness, PeakValues, evaluate_peaks
from search.peaks import Peaks
from search.spectral_whitening import WhitenedStrain, whiten_stretch

if TYPE_CHECKING:
    from models1d import MatchedFilter1d
    from physics.observation import Observation
    from search.conditioned_stretch import ConditionedStretch

# So many blocks are bounded, and so many blocks and peaks computed at a time, to save memory.
BOUNDS_AT_A_TIME, BLOCKS_AT_A_TIME, PEAKS_AT_A_TIME = 2**14, 64, 16


class FilterBankScorer:
    """Peaks of the mean score of one or several statistics of a bank.

    Args:
        statistics: such as the likelihood ratios of the networks of all folds and views. All of
            their networks have the same times and delays.
        observation: of the networks.
        decimate: decimation of the whitening that the networks expect.
        device: to compute on.
    """

    def __init__(
        self,
        statistics: Sequence[BankStatistic],
        observation: Observation,
        decimate: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.statistics, self.observation = list(statistics), observation
        self.decimate, self.device = decimate, torch.device(device)
        network = self.statistics[0].network
        self.grid, self.stride = network.grid, network.stride
        self.masses = network.template_masses()
        self.tick_seconds = decimate * self.stride / observation.sample_rate
        for statistic in self.statistics:
            statistic.network.to(self.device).eval()
        self.stretch: ConditionedStretch | None = None
        # by statistic and channel, None without strain
        self.outputs: list[list[DetectorOutputs | None]] = []
        self.summaries: list[list[Tensor | None]] = []
        # (ticks,) bool, by statistic and channel; all False without strain or a glitch hypothesis
        self.suspected: list[list[np.ndarray]] = []
        self.usable: dict[str, np.ndarray] = {}  # by detector, (ticks,)
        self.white: dict[str, WhitenedStrain] = {}

    def prepare(self, stretch: ConditionedStretch) -> None:
        """Whiten and filter a stretch; what was prepared before is forgotten."""
        self.stretch, self.outputs, self.usable = stretch, [], {}
        known: dict[str, list[DetectorOutputs]] = {}
        white = self.white = whiten_stretch(stretch, self.decimate)
        rate = self.observation.sample_rate / self.decimate
        for statistic in self.statistics:
            row: list[DetectorOutputs | None] = []
            for channel, shown in enumerate(statistic.channels):
                name = self.observation.detectors[shown]
                if name not in white:
                    row.append(None)
                    continue
                bank = bank_of_channel(statistic.network, channel)
                of_detector = known.setdefault(name, [])
                # Networks that share filters share their outputs.
                found = next((own for own in of_detector if own.bank.matches(bank)), None)
                if found is None:
                    reach = max(self.grid.reach)
                    found = DetectorOutputs(white[name], bank, reach, rate, self.device)
                    of_detector.append(found)
                row.append(found)
                self.usable[name] = found.usable
            self.outputs.append(row)
        self.summarise()
        self.find_suspected()

    def find_suspected(self) -> None:
        """Find where each channel of a network with a glitch hypothesis may hold a glitch."""
        # Statistics of views that exchange nothing, or only signs, are of the same channels.
        known: dict[tuple[MatchedFilter1d, int, DetectorOutputs], np.ndarray] = {}
        nothing = np.zeros(self.ticks, bool)
        self.suspected = []
        for statistic, row in zip(self.statistics, self.outputs, strict=True):
            of_channels = []
            for channel, own in enumerate(row):
                if own is None or not statistic.glitch_slack:
                    of_channels.append(nothing)
                    continue
                key = (statistic.network, channel, own)
                if key not in known:
                    found = find_suspected_ticks(statistic.network, channel, own)
                    known[key] = found.cpu().numpy()
                of_channels.append(known[key])
            self.suspected.append(of_channels)

    def summarise(self) -> None:
        """Filter every detector once, and keep the summaries that all statistics need."""
        asked: dict[DetectorOutputs, list[tuple[int, int, Summary]]] = {}
        for number, (statistic, row) in enumerate(zip(self.statistics, self.outputs, strict=True)):
            present = [own is not None for own in row]
            for channel, own in enumerate(row):
                if own is not None:
                    summary = statistic.summary(channel, present, own.reach)
                    asked.setdefault(own, []).append((number, channel, summary))
        self.summaries = [[None] * len(row) for row in self.outputs]
        for own, wanted in asked.items():
            found = own.summarise([summary for _, _, summary in wanted])
            for (number, channel, _), values in zip(wanted, found, strict=True):
                self.summaries[number][channel] = values

    @property
    def ticks(self) -> int:
        """Ticks of the stretch."""
        return len(next(iter(self.usable.values())))

    @property
    def block(self) -> int:
        """Ticks of a block."""
        return next(own.block for own in self.outputs[0] if own is not None)

    def offsets(self, shifts: Mapping[str, float]) -> dict[str, int]:
        """Return the shift of each detector in whole ticks, on the ring of all ticks."""
        return {
            name: round(shifts.get(name, 0.0) / self.tick_seconds) % self.ticks
            for name in self.usable
        }

    def usable_together(self, shifts: Mapping[str, float]) -> np.ndarray:
        """Return the ticks at which all shifted detectors may be used, (ticks,) bool."""
        rows = [np.roll(self.usable[name], -n) for name, n in self.offsets(shifts).items()]
        return np.logical_and.reduce(rows)

    def live_time(self, shifts: Mapping[str, float]) -> float:
        """Return for how many seconds of the stretch there is a score with these shifts."""
        return float(self.usable_together(shifts).sum() * self.tick_seconds)

    def channel_offsets(self, number: int, offsets: Mapping[str, int]) -> list[int]:
        """Return the shift of each channel of a statistic, in ticks; 0 without strain."""
        names = [self.observation.detectors[c] for c in self.statistics[number].channels]
        return [offsets.get(name, 0) for name in names]

    def suspected_together(self, number: int, offsets: Mapping[str, int]) -> np.ndarray | None:
        """Return at which ticks a shifted detector may hold a glitch, (ticks,) bool.

        None for a statistic that knows no glitches.
        """
        if not self.statistics[number].glitch_slack:
            return None
        shifts = self.channel_offsets(number, offsets)
        rows = [
            np.roll(own, -offset)
            for own, offset in zip(self.suspected[number], shifts, strict=True)
        ]
        return np.logical_or.reduce(rows)

    @torch.inference_mode()
    def block_bounds(self, number: int, offsets: Mapping[str, int]) -> np.ndarray:
        """Return upper bounds of what each block adds to a window, (blocks,), for a statistic."""
        block = self.block
        first = torch.arange(-(-self.ticks // block), device=self.device) * block
        parts = first.split(BOUNDS_AT_A_TIME)
        found = [self.bounds_of_blocks(number, offsets, part) for part in parts]
        return torch.cat(found).double().cpu().numpy()

    def bounds_of_blocks(self, number: int, offsets: Mapping[str, int], first: Tensor) -> Tensor:
        """Return upper bounds of what some blocks add to a window, (blocks,), for a statistic.

        Args:
            number: of the statistic.
            offsets: of the detectors, in ticks.
            first: (blocks,) ticks at which the blocks begin.
        """
        block, ticks = self.block, self.ticks
        shown: list[Tensor | None] = []
        for kept, offset in zip(
            self.summaries[number], self.channel_offsets(number, offsets), strict=True
        ):
            if kept is None:
                shown.append(None)
                continue
            start = (first + offset) % ticks
            parts = kept[:, start // block].float()
            if offset % block or ticks % block:
                # A shifted block lies in two blocks, and in two more where the ring closes. What
                # is kept of it is no more than the sum of theirs, as averages and as largest ones.
                end = (start + block - 1) % ticks
                closes = end < start
                others = (
                    end // block,
                    torch.where(closes, (ticks - 1) // block, start // block),
                    torch.where(closes, 0, start // block),
                )
                for other in others:
                    parts = torch.where(
                        other == start // block,
                        parts,
                        torch.logaddexp(parts, kept[:, other].float()),
                    )
            shown.append(parts)
        return self.statistics[number].bound(shown, block)

    @torch.inference_mode()
    def values_of_blocks(
        self, number: int, blocks: np.ndarray, offsets: Mapping[str, int]
    ) -> Tensor:
        """Return a statistic's values at all ticks of blocks, (blocks, ticks of a block)."""
        statistic, block = self.statistics[number], self.block
        shifts = self.channel_offsets(number, offsets)
        found = []
        for part in np.array_split(blocks, -(-len(blocks) // BLOCKS_AT_A_TIME)):
            first = torch.as_tensor(part, device=self.device) * block
            z = [
                own and own.quadratures((first + offset) % self.ticks - reach, block + 2 * reach)
                for own, offset, reach in zip(
                    self.outputs[number], shifts, self.grid.reach, strict=True
                )
            ]
            found.append(statistic.over_templates(statistic.of_templates(z)))
        return torch.cat(found)

    def peaks(self, shifts: Mapping[str, float], least: float) -> Peaks:
        """Return the peaks with a score of at least `least`; see `StretchScorer`.

        Shifts are rounded to whole ticks.
        """
        offsets, usable = self.offsets(shifts), self.usable_together(shifts)
        wanted = [statistic.least_value(least) - statistic.slack for statistic in self.statistics]
        suspected = [self.suspected_together(n, offsets) for n in range(len(self.statistics))]
        blocks = self.find_blocks(offsets, usable, wanted, suspected)
        ticks = self.find_peak_ticks(blocks, offsets, usable, wanted, suspected)
        parts = [
            self.evaluate(part, levels, offsets, usable)
            for part, levels in self.group_by_loudness(*ticks)
        ]
        detectors = self.observation.num_detectors
        found = Peaks.joined([Peaks.without_any(detectors), *parts])
        found = found.taken(np.argsort(found.time, kind="stable"))
        return found.taken(found.score >= least)

    def falling_levels(self, count: int) -> Iterator[float]:
        """Yield falling scores, the last minus infinity, to look for some loudest peaks at.

        The first level lets the blocks with the 4 x `count` highest bounds pass, and each further
        level twice as many. The more pass, the longer `peaks` takes.

        Args:
            count: of peaks that are wanted.
        """
        statistic = self.statistics[0]
        bounds = np.sort(self.block_bounds(0, self.offsets({})))[::-1]
        place = 4 * count
        while place < len(bounds):
            value = torch.tensor([bounds[place]], dtype=torch.float32, device=self.device)
            with torch.inference_mode():
                yield statistic.score(value).item()
            place *= 2
        yield -math.inf

    def find_blocks(
        self,
        offsets: Mapping[str, int],
        usable: np.ndarray,
        wanted: Sequence[float],
        suspected: Sequence[np.ndarray | None],
    ) -> np.ndarray:
        """Return the blocks with usable ticks in which a statistic could be as large as wanted.

        Args:
            offsets: of the detectors, in ticks.
            usable: (ticks,) bool.
            wanted: of each statistic.
            suspected: of each statistic, see `suspected_together`.
        """
        could = np.zeros(-(-self.ticks // self.block), bool)
        every = zip(self.statistics, wanted, suspected, strict=True)
        for number, (statistic, value, glitches) in enumerate(every):
            bounds = self.block_bounds(number, offsets)
            could |= bounds >= value
            if glitches is not None:
                lower = bounds >= value - statistic.glitch_slack
                could |= lower & self.blocks_with_any(glitches)
        return np.flatnonzero(could & self.blocks_with_any(usable))

    def blocks_with_any(self, ticks: np.ndarray) -> np.ndarray:
        """Return which blocks have any of some ticks: (ticks,) bool -> (blocks,) bool."""
        padded = np.pad(ticks, (0, -len(ticks) % self.block))
        return padded.reshape(-1, self.block).any(1)  # (blocks x ticks of a block,) -> (blocks,)

    def find_peak_ticks(
        self,
        blocks: np.ndarray,
        offsets: Mapping[str, int],
        usable: np.ndarray,
        wanted: Sequence[float],
        suspected: Sequence[np.ndarray | None],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ticks of peaks, and the mean value of the statistics at each.

        A peak is the largest of half a window to either side.
        """
        if not len(blocks):
            return np.empty(0, np.int64), np.empty(0)
        from scipy.ndimage import maximum_filter1d

        times, ticks, block = self.grid.num_times, self.ticks, self.block
        # (blocks, ticks of a block) -> those that lie in the stretch
        places = (blocks[:, None] * block + np.arange(block)).ravel()
        inside = places < ticks
        places = places[inside]
        values = []
        for number in range(len(self.statistics)):
            own = self.values_of_blocks(number, blocks, offsets).flatten().double().cpu().numpy()
            values.append(np.where(usable[places], own[inside], -np.inf))
        mean = np.full(ticks, -np.inf)
        mean[places] = np.mean(values, axis=0)
        largest = maximum_filter1d(mean, 2 * (times // 2) + 1, mode="wrap")
        found = np.flatnonzero((mean == largest) & np.isfinite(mean))
        # What the blocks around a peak that were computed give for its window.
        near = (found[:, None] + np.arange(times) - times // 2) % ticks  # (peak, time)
        enough = np.zeros(len(found), bool)
        every = zip(self.statistics, values, wanted, suspected, strict=True)
        for statistic, own, value, glitches in every:
            ring = np.full(ticks, -np.inf)
            ring[places] = own
            window = torch.from_numpy(ring[near])
            total = statistic.over_times(window, torch.zeros_like(window))
            enough |= total.numpy() >= value
            if glitches is not None:
                # Without a detector that holds a glitch the others may say far more than all.
                enough |= glitches[found]
        return found[enough], mean[found[enough]]

    def group_by_loudness(
        self, ticks: np.ndarray, levels: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Fineness]]:
        """Yield peaks with how finely their times are to be resolved, some at a time."""
        scale = self.statistics[0].log_ratio_scale
        classes: dict[Fineness, list[int]] = {}
        for tick, level in zip(ticks.tolist(), levels.tolist(), strict=True):
            classes.setdefault(Fineness.of(level * scale), []).append(tick)
        for fineness, members in classes.items():
            at_a_time = max(PEAKS_AT_A_TIME * 4 // fineness.fine, 1)
            for first in range(0, len(members), at_a_time):
                yield np.array(members[first : first + at_a_time]), fineness

    def evaluate(
        self,
        ticks: np.ndarray,
        fineness: Fineness | None,
        offsets: Mapping[str, int],
        usable: np.ndarray,
    ) -> Peaks:
        """Return peaks at some ticks, whatever their scores.

        Args:
            ticks: (n,).
            fineness: of times around a tick; None for ticks alone, as windows of the network.
            offsets: of the detectors, in ticks.
            usable: (ticks of the stretch,) bool.
        """
        scores, found = [], []
        for number, statistic in enumerate(self.statistics):
            values = self.evaluate_statistic(number, ticks, fineness, offsets, usable)
            with torch.inference_mode():
                score = statistic.score(
                    torch.as_tensor(values.value, dtype=torch.float32, device=self.device)
                )
            scores.append(score.double().cpu().numpy())
            found.append(values)
        first, channels = found[0], self.statistics[0].channels
        detectors = self.observation.num_detectors
        alone = np.full((len(scores), len(ticks), detectors), np.nan)
        for row, values, statistic in zip(alone, found, self.statistics, strict=True):
            row[:, list(statistic.channels)] = values.alone
        snr = np.full((len(ticks), detectors), np.nan, np.float32)
        snr[:, list(channels)] = first.snr
        start = self.stretch.stretch.start
        return Peaks(
            time=start + (ticks + first.tick) * self.tick_seconds,
            score=np.mean(scores, axis=0),
            detector_scores=alone.mean(0),
            template=first.template.astype(np.int32),
            mass1=self.masses[first.template, 0],
            mass2=self.masses[first.template, 1],
            snr=snr,
        )

    def evaluate_statistic(
        self,
        number: int,
        ticks: np.ndarray,
        fineness: Fineness | None,
        offsets: Mapping[str, int],
        usable: np.ndarray,
    ) -> PeakValues:
        """Return what one statistic says of windows around ticks."""
        times = self.grid.num_times
        first = ticks - times // 2
        near = (first[:, None] + np.arange(times)) % self.ticks  # (n, time)
        first_ticks = [
            None
            if own is None
            else torch.as_tensor((ticks + offset) % self.ticks - times // 2, device=self.device)
            for own, offset in zip(
                self.outputs[number], self.channel_offsets(number, offsets), strict=True
            )
        ]
        statistic, outputs = self.statistics[number], self.outputs[number]
        allowed = torch.from_numpy(usable[near]).to(self.device)
        found = evaluate_peaks(statistic, outputs, first_ticks, allowed, fineness)
        samples = statistic.network.samples
        strain = [
            own and own.windows(first - self.grid.first, samples)
            for own, first in zip(outputs, first_ticks, strict=True)
        ]

        def without(left: tuple[int, ...], rows: Tensor) -> Tensor:
            """Return the values of some windows without some channels."""
            others = [None if c in left else own for c, own in enumerate(outputs)]
            if not any(others):
                return torch.zeros(
                    len(rows), dtype=torch.float64, device=self.device
                )  # nothing is left that could say anything
            some = [None if first is None else first[rows] for first in first_ticks]
            rest = evaluate_peaks(statistic, others, some, allowed[rows], fineness)
            return torch.as_tensor(rest.value, device=self.device)

        with torch.inference_mode():
            values = statistic.beside_glitches(
                torch.as_tensor(found.value, device=self.device), strain, without
            )
        found.value = values.cpu().numpy()
        return found

    def chi_squared(self, times: np.ndarray, templates: np.ndarray) -> np.ndarray:
        """Test whether peaks of the stretch as it was recorded look like their templates.

        Args:
            times: (n,) GPS, s.
            templates: (n,) their numbers.

        Returns:
            (n, D) chi-squared for each degree of freedom (see consistency.py); NaN for detectors
            without strain, and of templates with too few frequencies for the bands.
        """
        statistic, detectors = self.statistics[0], self.observation.num_detectors
        peaks = Peaks.of_scores(times, np.zeros(len(times)), detectors)
        peaks.template = np.asarray(templates, np.int32)
        by_channel, _ = consistency_of_peaks(
            peaks,
            {name: white.values for name, white in self.white.items()},
            statistic.network,
            [self.observation.detectors[shown] for shown in statistic.channels],
            self.stretch.stretch.start,
            self.observation.sample_rate / self.decimate,
        )
        found = np.full((len(times), detectors), np.nan)
        found[:, list(statistic.channels)] = by_channel
        return found

    def window_scores(self, ticks: np.ndarray, shifts: Mapping[str, float]) -> np.ndarray:
        """Return the scores of windows centred on ticks, at ticks alone, (n,).

        So does the network score windows; `peaks` resolves times more finely.
        """
        usable = np.ones(self.ticks, bool)
        offsets = self.offsets(shifts)
        parts = [
            self.evaluate(part, None, offsets, usable).score
            for part in np.array_split(ticks, max(-(-len(ticks) // PEAKS_AT_A_TIME), 1))
        ]
        return np.concatenate(parts)
