"""A stretch of strain, read, cleaned and measured: what a scorer whitens and searches.

What recorded strain has and noise of a curve has not is dealt with here, detector by detector:

- gaps, excluded times and runs of equal samples are cut out, with what filters spoil around them,
  and filled with what is to be expected there, so that whitening does not ring beside them
  (`data/gap_filling.py`);
- the level of the noise changes: the PSD follows it (`data/tracked_psds.py`);
- loud glitches are gated (`data/gates.py`), and the PSD is measured again without them.

A detector that has nothing to search leaves the others in the stretch. Strain is in units of 1e-21.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from data.gap_filling import fill_gaps, find_runs
from data.gates import GATE_SNR, Gate, gate_glitches
from data.recording import Recording
from data.strain_conditioning import condition_strain
from data.time_segments import TimeSegments
from data.tracked_psds import (
    TrackedPSD,
    measure_tracked_psds,
    scale_to_unit_variance,
    whiten_by_psds,
)
from physics.observation import Observation
from runtime.console import LOGGER
from runtime.errors import UserError
from search.stretches import Stretch

# A short stretch, such as one in which a third detector was on, has its PSDs measured with the
# strain before and after it, s in all: out of 128 pieces, a bin is known to a tenth.
PSD_CONTEXT_SECONDS = 256.0
# Times that are searched without one of the detectors become one stretch if they are closer, s.
JOINED_SECONDS = 32.0


@dataclass(frozen=True)
class ConditioningSettings:
    """How strain is conditioned.

    Args:
        psd_every: s, about, for which one PSD is valid.
        gate_snr: a glitch whose SNR in one detector is larger is gated (see `data/gates.py`); 0
            gates none.

    Raises:
        UserError: a setting is out of its range; the message names the flag of detect.py.
    """

    psd_every: float = 32.0
    gate_snr: float = GATE_SNR

    def __post_init__(self) -> None:
        if not 4 <= self.psd_every < float("inf"):
            raise UserError(f"--psd-every {self.psd_every:g}: expected 4 s or more")
        if not 0 <= self.gate_snr < float("inf"):
            raise UserError(f"--gate-snr {self.gate_snr:g}: expected an SNR, or 0 to gate nothing")


@dataclass(frozen=True)
class MissingStrain:
    """A time in which a detector has no strain that can be used, for another reason than a gate.

    Attributes:
        detector: name.
        start: GPS time in s of the first sample.
        end: GPS time in s at which the last one ends.
    """

    detector: str
    start: float
    end: float


@dataclass
class ConditionedStretch:
    """A stretch of strain that is ready to be whitened.

    Attributes:
        stretch: what it is; its detectors are the keys of what follows.
        observation: detectors, rate and window.
        strain: (samples,) float32 in 1e-21 at the observation's rate, high-passed, of each
            detector; finite. Gaps and gates are filled with what the strain around them lets one
            expect, so that whitening does not ring beside them; far inside long gaps it is 0.
        usable: (samples,) bool of each detector; False in gaps, in runs of equal samples, in gates,
            and wherever a filter saw a gap.
        psds: of each detector, in order of time; together they cover the stretch.
        gates: glitches that were taken out.
        margins: of each detector, a window's length of strain before the stretch and after it, as
            `strain`; nothing in it is searched. Strain that ends with the stretch is continued
            there as in a gap. Empty if it is not known.
    """

    stretch: Stretch
    observation: Observation
    strain: dict[str, np.ndarray]
    usable: dict[str, np.ndarray]
    psds: dict[str, list[TrackedPSD]]
    gates: list[Gate] = field(default_factory=list)
    margins: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def rate(self) -> int:
        """Hz, of `strain`."""
        return self.observation.sample_rate

    def with_margins(self, name: str) -> np.ndarray:
        """Return a detector's strain with a window's length before and after it.

        Returns:
            (n + samples + n,) float32 in 1e-21, for windows of n samples; zeros where nothing is
            known.
        """
        nothing = np.zeros(self.observation.num_samples, np.float32)
        before, after = self.margins.get(name, (nothing, nothing))
        return np.concatenate([before, self.strain[name], after])

    def whitened(self, name: str) -> np.ndarray:
        """Return a detector's strain whitened by its PSDs, (samples,) float32 of unit variance.

        The whitening filter reaches a window's length to either side, and so to the end of the
        margins and no further: at the ends of a stretch it is as exact as within.
        """
        n = self.observation.num_samples
        start = self.stretch.start - n / self.rate
        return whiten_by_psds(self.with_margins(name), start, self.psds[name], self.rate)

    @property
    def seconds_lost(self) -> dict[str, float]:
        """Seconds of each detector that cannot be used."""
        return {name: float((~usable).sum()) / self.rate for name, usable in self.usable.items()}


def load_stretch(
    recordings: Mapping[str, Recording],
    stretch: Stretch,
    observation: Observation,
    settings: ConditioningSettings = ConditioningSettings(),
    allowed: Mapping[str, TimeSegments] | None = None,
) -> ConditionedStretch | None:
    """Read and condition the strain of a stretch and measure its PSDs.

    What was cut out is said, and a detector with too little clean strain for a PSD is left out.

    Args:
        recordings: of all detectors of the stretch.
        stretch: as `plan_stretches` returned it.
        observation: detectors, rate and window.
        settings: how to condition.
        allowed: sorted GPS segments of each detector, as `plan_stretches` takes them; all other
            strain is a gap. A detector that is not named may be used wherever it has strain.

    Returns:
        The stretch, or None where no detector has enough clean strain.

    Raises:
        UserError: a file cannot be read.
    """
    parts = {}
    for name in stretch.detectors:
        recording = recordings[name]
        if allowed is not None and name in allowed:
            recording = recording.limited_to(allowed[name])
        part = load_detector(recording, stretch, observation, settings)
        if part is None:
            LOGGER.warning(
                f"GPS {stretch.start:.0f} to {stretch.end:.0f}: searched without {name}, of which "
                f"too little is clean for a PSD"
            )
        else:
            parts[name] = part
    if not parts:
        return None
    conditioned = ConditionedStretch(
        replace(stretch, detectors=tuple(parts)),
        observation,
        strain={name: part.strain for name, part in parts.items()},
        usable={name: part.usable for name, part in parts.items()},
        psds={name: part.psds for name, part in parts.items()},
        gates=[gate for part in parts.values() for gate in part.gates],
        margins={name: part.margins for name, part in parts.items()},
    )
    for line in explain_losses(conditioned):
        LOGGER.info(line)
    return conditioned


@dataclass
class DetectorPart:
    """What `ConditionedStretch` has of one detector."""

    strain: np.ndarray
    usable: np.ndarray
    psds: list[TrackedPSD]
    gates: list[Gate]
    margins: tuple[np.ndarray, np.ndarray]


def load_detector(
    recording: Recording, stretch: Stretch, observation: Observation, settings: ConditioningSettings
) -> DetectorPart | None:
    """Return one detector's part of a stretch; None where too little is clean for a PSD.

    See `load_stretch`.
    """
    rate, window = observation.sample_rate, observation.num_samples
    samples = round(stretch.seconds * rate)
    # The PSD of a short stretch, and the whitening at the ends of any, need the strain beside it.
    context = max(window, round(PSD_CONTEXT_SECONDS * rate - samples) // 2)
    # Beyond the recording a window suffices: a gap, in which the strain is continued.
    begin = -min(context, max(round((stretch.start - recording.start) * rate), 0) + window)
    end = samples + min(context, max(round((recording.end - stretch.end) * rate), 0) + window)
    start = stretch.start + begin / rate
    x = condition_strain(recording, start, end - begin, observation)
    usable = np.isfinite(x)
    x[~usable] = 0
    # Gaps are not measured; once the PSD is known, they are filled.
    psds = measure_tracked_psds(x, usable, start, observation, settings.psd_every)
    if psds is None:
        return None
    filled = fill_gaps(x, usable, start, psds, rate)
    # Beside gaps that were not filled yet, whitened strain was louder than it is: for a window's
    # length on either side. In hours of strain, that moves no median.
    if 2 * window * len(filled) > 0.01 * len(x):
        psds = scale_to_unit_variance(x, usable, start, psds, rate)
    gates = []
    if settings.gate_snr:
        gates = gate_glitches(x, usable, start, psds, rate, recording.detector, settings.gate_snr)
    if gates:
        psds = measure_tracked_psds(x, usable, start, observation, settings.psd_every)
        if psds is None:
            return None
    first, last = -begin, -begin + samples
    return DetectorPart(
        x[first:last],
        usable[first:last],
        cut_psds(psds, stretch),
        cut_gates(gates, stretch),
        (x[first - window : first].copy(), x[last : last + window].copy()),
    )


def cut_psds(psds: Sequence[TrackedPSD], stretch: Stretch) -> list[TrackedPSD]:
    """Return PSDs of the time of a stretch."""
    return [
        replace(psd, start=max(psd.start, stretch.start), end=min(psd.end, stretch.end))
        for psd in psds
        if psd.start < stretch.end and psd.end > stretch.start
    ]


def cut_gates(gates: Sequence[Gate], stretch: Stretch) -> list[Gate]:
    """Return the gates that reach into a stretch."""
    return [gate for gate in gates if gate.start < stretch.end and gate.end > stretch.start]


def find_missing(stretch: Stretch, conditioned: ConditionedStretch | None) -> list[MissingStrain]:
    """Return where the detectors of a stretch have gaps, excluded times and equal samples.

    With what is too near to them, as `ConditionedStretch.usable` has it, and without the gates.

    Args:
        stretch: as it was planned.
        conditioned: what `load_stretch` made of it; a detector that it left out is missing whole.
    """
    if conditioned is None:
        return [MissingStrain(name, stretch.start, stretch.end) for name in stretch.detectors]
    start, rate = conditioned.stretch.start, conditioned.rate
    missing = [
        MissingStrain(name, stretch.start, stretch.end)
        for name in stretch.detectors
        if name not in conditioned.usable
    ]
    for name, usable in conditioned.usable.items():
        lost = ~usable
        for gate in conditioned.gates:
            if gate.detector == name:
                first, last = ((each - start) * rate for each in (gate.start, gate.end))
                lost[max(round(first), 0) : max(round(last), 0)] = False
        missing += [
            MissingStrain(name, start + first / rate, start + last / rate)
            for first, last in find_runs(lost)
        ]
    return missing


def explain_losses(conditioned: ConditionedStretch) -> Iterator[str]:
    """Yield a sentence for each detector that has gaps or gates."""
    stretch = conditioned.stretch
    span = f"GPS {stretch.start:.0f} to {stretch.end:.0f}"
    for name, lost in conditioned.seconds_lost.items():
        gates = [gate for gate in conditioned.gates if gate.detector == name]
        gated = sum(gate.end - gate.start for gate in gates)
        if lost - gated > 0.05:
            yield (
                f"{span}: {lost - gated:.1f} s of {name} are missing, excluded or equal samples, "
                f"or too near to them"
            )
        if gates:
            loudest = max(gates, key=lambda gate: gate.snr)
            yield (
                f"{span}: gated {len(gates)} glitches of {name}, {gated:.1f} s in all; the loudest "
                f"has an SNR of {loudest.snr:.0f} at GPS {(loudest.start + loudest.end) / 2:.2f}"
            )


def divide_by_detectors(conditioned: ConditionedStretch) -> list[ConditionedStretch]:
    """Divide a stretch so that each window is searched with all detectors that it can use.

    The first part is the stretch itself: its windows are usable in all detectors. Where a gap or a
    gate of some detectors spoils windows, a part follows with the other detectors alone, cut to
    that time. Its usable samples are those of the spoilt windows.

    Windows between two gaps less than two windows apart are searched twice, in different
    combinations.

    Args:
        conditioned: a stretch.

    Returns:
        Parts with the number of the stretch, in order of combination and time.
    """
    detectors, n = conditioned.stretch.detectors, conditioned.observation.num_samples
    parts = [conditioned]
    if all(usable.all() for usable in conditioned.usable.values()):
        return parts
    # (detectors, windows): whether the window that begins at a sample is usable
    whole = np.stack([begins_usable(conditioned.usable[name], n) for name in detectors])
    for count in range(len(detectors) - 1, 0, -1):
        for rows in itertools.combinations(range(len(detectors)), count):
            wanted = np.isin(np.arange(len(detectors)), rows)
            exactly = (whole == wanted[:, None]).all(axis=0)
            # The runs of samples that these windows cover; n - 1 samples follow the last beginning.
            covered = [(first, last + n - 1) for first, last in find_runs(exactly)]
            for group in group_runs(covered, round(JOINED_SECONDS * conditioned.rate)):
                parts.append(cut_stretch(conditioned, [detectors[row] for row in rows], group))
    return parts


def begins_usable(usable: np.ndarray, n: int) -> np.ndarray:
    """Return at which samples a window of n usable samples begins, (samples - n + 1,) bool."""
    # bad[i] counts the unusable samples before sample i
    bad = np.concatenate([[0], np.cumsum(~usable)])
    return bad[n:] == bad[:-n]


def group_runs(runs: list[tuple[int, int]], gap: int) -> Iterator[list[tuple[int, int]]]:
    """Yield runs together that are less than `gap` samples apart."""
    group: list[tuple[int, int]] = []
    for run in runs:
        if group and run[0] - group[-1][1] >= gap:
            yield group
            group = []
        group.append(run)
    if group:
        yield group


def cut_stretch(
    conditioned: ConditionedStretch, detectors: list[str], runs: list[tuple[int, int]]
) -> ConditionedStretch:
    """Return a part of a stretch with some of its detectors, usable in some runs of samples only.

    Args:
        conditioned: the stretch.
        detectors: to keep.
        runs: first sample of each run and the one after its last.
    """
    rate, before = conditioned.rate, conditioned.stretch
    first, last = runs[0][0], max(end for _, end in runs)
    within = np.zeros(last - first, bool)
    for begin, end in runs:
        within[begin - first : end - first] = True
    stretch = Stretch(
        before.number, before.start + first / rate, before.start + last / rate, tuple(detectors)
    )
    n = conditioned.observation.num_samples
    # (n + samples + n,), so that the strain from `first - n` on begins at `first`
    padded = {name: conditioned.with_margins(name) for name in detectors}
    return ConditionedStretch(
        stretch,
        conditioned.observation,
        strain={name: conditioned.strain[name][first:last] for name in detectors},
        usable={name: conditioned.usable[name][first:last] & within for name in detectors},
        psds={name: cut_psds(conditioned.psds[name], stretch) for name in detectors},
        gates=[
            gate for gate in cut_gates(conditioned.gates, stretch) if gate.detector in detectors
        ],
        margins={
            name: (padded[name][first : first + n], padded[name][last + n : last + 2 * n])
            for name in detectors
        },
    )
