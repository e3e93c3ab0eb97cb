"""Recorded strain as the noise of training samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configuration.class_with_arguments import Part
from data.quality_bits import parse_bits
from data.time_segments import merge_segments, total_seconds
from physics.constants import STRAIN_UNIT
from physics.observation import COMPETITION, Observation
from runtime.console import LOGGER
from runtime.errors import UserError, nearest
from simulation.conditioned_strain import (
    ConditionedStrain,
    digests_of_files,
    open_conditioned_strain,
)
from simulation.noise_times import segments_of_setting, times_of_setting
from simulation.spectral_whitening import SpectralWhitening
from simulation.strain_stretches import (
    Intervals,
    StrainStretch,
    cut_context,
    find_stretches,
    whiten_context,
)
from simulation.training_noise import TrainingNoise

CANDIDATES = 32  # windows drawn for each, of which the first that is not coincident is taken
# Seconds in which windows may begin, for each detector, as a multiple of the window. With that,
# less than half of the candidates are coincident.
LEAST_WINDOWS = 3
# Windows of two detectors begin at least so many seconds more than a window apart; light needs
# 43 ms at most from one detector to another.
MARGIN = 0.1


class RealStrain(TrainingNoise):
    """Windows of recorded strain, each detector at a random time of its own.

    The times of the detectors are more than a window apart, so that nothing that all of them saw is
    in one sample: neither a known event nor one that nobody found.

    Strain is resampled and high-passed once, as the search does it, and read by memory map. It is
    divided into stretches, each with its own PSD (Welch's method with the median). With `whiten` of
    `SimulatedDataset`, windows are whitened by the PSD of their stretch and so are the signals
    that are injected. The search divides by the exact root of the covariance, which knows nothing
    of the strain around the window; the two differ by some hundredths of the noise, and by more in
    the first and last tenth of a second.

    Args:
        files: by detector, one file or several, or globs, folders, lists and frame caches (see
            `data.strain_paths`).
        segments: GPS segments that windows lie in, as pairs, as a text file, or one of these for
            each detector (see `segments_of_setting`); None for all of the strain.
        flags: GPS segments that data-quality flags veto, in the same form: no window touches them.
        events: GPS times of known events, or a text file of them.
        event_seconds: no window touches what is closer to an event than this.
        glitch_share: share of the windows of each detector that have a glitch in their middle half,
            beside those that have one by chance.
        glitch_threshold: excess power of a glitch, in standard deviations; see `find_glitches`.
        stretch: seconds of strain with one PSD.
        data_quality: bits of the files that must be set where windows lie, such as
            ["DATA", "CBC_CAT1"], or "none"; None takes the usual ones as far as a file has them
            (see `data.quality_bits`).
        device: where batches go; strain is read on the CPU.
        observation: detectors, rate and window; an experiment gives its own.

    Raises:
        UserError: a detector has no file, a file cannot be used, the strain is too short, no clean
            time is left, or an argument is out of its range.
    """

    has_psds = True

    def __init__(
        self,
        files: Mapping[str, str | Sequence[str]],
        segments: Any = None,
        flags: Any = (),
        events: Any = (),
        event_seconds: float = 4.0,
        glitch_share: float = 0.0,
        glitch_threshold: float = 10.0,
        stretch: float = 512.0,
        data_quality: str | Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        *,
        observation: Observation = COMPETITION,
    ) -> None:
        self.device, self.observation = torch.device(device), observation
        check_files(files, observation)
        for name, value in (
            ("event_seconds", event_seconds),
            ("glitch_threshold", glitch_threshold),
            ("stretch", stretch),
        ):
            if not 0 < value < float("inf"):
                raise UserError(f"RealStrain: {name} = {value!r}: expected a positive number")
        if not 0 <= glitch_share <= 1:
            raise UserError(
                f"RealStrain: glitch_share = {glitch_share!r}: expected a share from 0 to 1"
            )
        around = [
            (time - event_seconds, time + event_seconds)
            for time in times_of_setting(events, "RealStrain: events")
        ]
        bits = parse_bits(as_list(data_quality or ()), "RealStrain: data_quality")
        self.windows: list[DetectorWindows] = []
        for detector in observation.detectors:
            strain = open_conditioned_strain(
                as_list(files[detector]), detector, observation, data_quality=bits
            )
            bad = merge_segments(*strain.excluded.values())
            if bad:
                LOGGER.info(
                    f"{detector}: {total_seconds(bad):g} s of the strain are left out by the "
                    f"data-quality bits {', '.join(strain.excluded)}"
                )
            allowed = None
            if segments is not None:
                allowed = segments_of_setting(segments, detector, "RealStrain: segments")
            vetoed = segments_of_setting(flags, detector, "RealStrain: flags") + around + bad
            stretches = find_stretches(
                strain,
                observation,
                stretch,
                allowed,
                vetoed,
                glitch_threshold if glitch_share else None,
            )
            self.windows.append(DetectorWindows(strain, stretches, glitch_share, observation))
        counts = [len(windows.stretches) for windows in self.windows]
        # The stretches of detector d are numbers first[d] to first[d] + counts[d] - 1.
        self.first = np.cumsum(counts) - counts
        self.psds = np.stack([s.psd for windows in self.windows for s in windows.stretches])

    def draw_psd_numbers(self, count: int, generator: torch.Generator | None) -> Tensor:
        rng = numpy_generator(generator, self.device)
        numbers = [
            windows.draw_stretches(count, rng) + first
            for windows, first in zip(self.windows, self.first, strict=True)
        ]
        return torch.from_numpy(np.stack(numbers, axis=1)).to(self.device)  # (count, detector)

    def draw_starts(self, psd_numbers: Tensor, generator: torch.Generator | None) -> np.ndarray:
        """Draw at which sample of its array each window begins.

        Args:
            psd_numbers: (count, detector) of the stretches that they lie in.
            generator: on the device.

        Returns:
            (count, detector) int64.
        """
        rng = numpy_generator(generator, self.device)
        numbers = psd_numbers.cpu().numpy() - self.first  # (count, detector) of its stretches
        apart = self.observation.window + MARGIN
        count = len(numbers)
        starts = np.empty((count, len(self.windows)), np.int64)
        times = np.empty((count, len(self.windows)))  # GPS
        for d, windows in enumerate(self.windows):
            own, own_times = windows.draw_starts(numbers[:, d], CANDIDATES, rng)
            # (count, candidate): how close it is to the windows of the detectors before
            closest = np.full(own_times.shape, np.inf)
            for other in range(d):
                closest = np.minimum(closest, np.abs(own_times - times[:, other, None]))
            # The first that is far enough, or else the farthest.
            chosen = np.minimum(closest, apart).argmax(axis=1)[:, None]
            starts[:, d] = np.take_along_axis(own, chosen, 1)[:, 0]
            times[:, d] = np.take_along_axis(own_times, chosen, 1)[:, 0]
        return starts

    def cut(self, starts: np.ndarray) -> Tensor:
        """Return windows with as much on either side, (count, detector, 3 num_samples).

        Args:
            starts: (count, detector), as `draw_starts` draws them.
        """
        n = self.observation.num_samples
        parts = [
            cut_context(windows.strain.values, starts[:, d], n)
            for d, windows in enumerate(self.windows)
        ]
        return torch.from_numpy(np.stack(parts, axis=1)).to(self.device)

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        psd_numbers: Tensor | None = None,
    ) -> Tensor:
        if psd_numbers is None:
            psd_numbers = self.draw_psd_numbers(count, generator)
        n = self.observation.num_samples
        context = self.cut(self.draw_starts(psd_numbers, generator))
        return context[..., n : 2 * n] * STRAIN_UNIT

    def sample_whitened(
        self, psd_numbers: Tensor, whitening: SpectralWhitening, generator: torch.Generator | None
    ) -> Tensor:
        context = self.cut(self.draw_starts(psd_numbers, generator))
        return whiten_context(context, psd_numbers, whitening)


class DetectorWindows:
    """The windows of one detector that may be drawn.

    Args:
        strain: of the detector.
        stretches: of it.
        glitch_share: share of the windows that are drawn around glitches.
        observation: gives the rate and the window.

    Raises:
        UserError: no clean time is left, or too little.
    """

    def __init__(
        self,
        strain: ConditionedStrain,
        stretches: list[StrainStretch],
        glitch_share: float,
        observation: Observation,
    ) -> None:
        self.strain, self.sample_rate = strain, observation.sample_rate
        # In a stretch with few windows, all might be coincident with another detector's.
        least = LEAST_WINDOWS * observation.num_detectors * observation.num_samples
        self.stretches = [s for s in stretches if s.clean.total >= least]
        if not self.stretches:
            left = sum(s.clean.total for s in stretches) / self.sample_rate
            raise UserError(
                f"RealStrain: no clean time is left of {strain.detector}: windows of "
                f"{observation.window:g} s could begin in {left:.1f} s only, and a stretch needs "
                f"{least / self.sample_rate:g} s, and {8 * observation.window:g} s for its PSD: "
                f"give more strain or longer segments, or fewer flags, events and bits of "
                f"data_quality"
            )
        self.offsets = np.array([s.offset for s in self.stretches])
        self.clean = IntervalTable([s.clean for s in self.stretches])
        self.glitches = IntervalTable([s.glitches for s in self.stretches])
        if glitch_share and not self.glitches.totals.sum():
            raise UserError(
                f"RealStrain: glitch_share = {glitch_share:g} and no glitch was found in the "
                f"strain of {strain.detector}: lower glitch_threshold, or leave glitch_share out"
            )
        # P(stretch) = (1 - share) clean / all clean + share glitches / all glitches
        by_time = (1 - glitch_share) * self.clean.totals / self.clean.totals.sum()
        by_glitch = np.zeros(len(by_time))
        if glitch_share:
            by_glitch = glitch_share * self.glitches.totals / self.glitches.totals.sum()
        self.law = by_time + by_glitch  # (stretch,), of sum 1
        # P(window around a glitch | stretch)
        self.glitch_law = by_glitch / self.law

    def draw_stretches(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw numbers of stretches, (count,) int64."""
        return rng.choice(len(self.law), size=count, p=self.law / self.law.sum())

    def draw_starts(
        self, numbers: np.ndarray, candidates: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw windows of stretches.

        Args:
            numbers: (count,) of the stretches.
            candidates: windows for each.
            rng: draws them.

        Returns:
            The samples of the array at which they begin, and their GPS times, both (count,
            candidates).
        """
        shape = (len(numbers), candidates)
        # Whether a window has a glitch is drawn once for all candidates: were it drawn for each,
        # those that are not coincident would have glitches more seldom or more often.
        glitch = rng.random(len(numbers)) < self.glitch_law[numbers]
        u = rng.random(shape)
        starts = self.clean.starts_at(numbers, u)
        starts[glitch] = self.glitches.starts_at(numbers[glitch], u[glitch])
        return starts, self.offsets[numbers][:, None] + starts / self.sample_rate


class IntervalTable:
    """The intervals of several stretches, one after the other.

    Attributes:
        totals: (stretch,) numbers in all intervals of each.
    """

    def __init__(self, intervals: Sequence[Intervals]) -> None:
        self.first = np.concatenate([i.first for i in intervals])
        counts = np.concatenate([i.count for i in intervals])
        self.totals = np.array([i.total for i in intervals])
        self.ends = np.cumsum(counts)  # of each interval, if all stood in a row
        self.begins = self.ends - counts
        self.stretch_begins = np.cumsum(self.totals) - self.totals

    def starts_at(self, numbers: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return a number out of the intervals of each stretch.

        Args:
            numbers: (count,) of the stretches.
            u: (count, candidates) from 0 to 1: where in the row of a stretch's numbers.

        Returns:
            (count, candidates) int64.
        """
        totals = self.totals[numbers][:, None]
        # Rounding could lift the largest u to one more.
        place = np.minimum((u * totals).astype(np.int64), totals - 1)
        place += self.stretch_begins[numbers][:, None]
        interval = np.searchsorted(self.ends, place, side="right")
        return self.first[interval] + place - self.begins[interval]


def as_list(names: str | Sequence[str]) -> list[str]:
    """Return one name or several as a list."""
    return [names] if isinstance(names, str) else list(names)


def recorded_strain_digests(setting: Any, observation: Observation) -> dict[str, str]:
    """Return digests of the strain files that a setting names for `RealStrain`.

    Args:
        setting: parts, mappings and sequences in one another, such as `dataset_params`.
        observation: of the experiment.

    Returns:
        For each detector one of all of its files, under its name, and one of each file, under
        names such as "H1, file 2 of 12" in order of time. Empty where there is no such part.

    Raises:
        UserError: a file is missing or cannot be used.
    """
    found: dict[str, str] = {}
    if isinstance(setting, Part):
        if issubclass(setting.cls, RealStrain):
            files = setting.params["files"]
            check_files(files, observation)
            for detector in observation.detectors:
                digests = digests_of_files(as_list(files[detector]), detector, observation)
                text = " ".join(digests).encode()
                found[detector] = hashlib.blake2b(text, digest_size=16).hexdigest()
                for number, digest in enumerate(digests, 1):
                    found[f"{detector}, file {number} of {len(digests)}"] = digest
        setting = setting.params
    if isinstance(setting, Mapping):
        setting = list(setting.values())
    if isinstance(setting, list | tuple):
        for value in setting:
            found |= recorded_strain_digests(value, observation)
    return found


def check_files(files: Any, observation: Observation) -> None:
    """Check that every detector has files, and every file a detector.

    Raises:
        UserError: a detector has none, or is not observed.
    """
    if not isinstance(files, Mapping):
        raise UserError(
            f"RealStrain: files = {files!r}: expected files by detector, such as {{'H1': 'a.hdf5'}}"
        )
    known = observation.detectors
    for name in files:
        if name not in known:
            raise UserError(
                f"RealStrain: files of {name}{nearest(name, known)}: observed are "
                f"{', '.join(known)}; take them out, or change observation.detectors"
            )
    missing = [name for name in known if not files.get(name)]
    if missing:
        raise UserError(
            f"RealStrain: no strain of {', '.join(missing)}: name its files in files, or take it "
            f"out of observation.detectors"
        )


def numpy_generator(generator: torch.Generator | None, device: torch.device) -> np.random.Generator:
    """Return a generator on the CPU whose seed is drawn from another."""
    seed = torch.randint(2**62, (1,), generator=generator, device=device)
    return np.random.default_rng(int(seed))
