"""Gates: loud glitches taken out of conditioned strain, and where they were.

A glitch is gated when its energy, the sum of the squares of whitened strain in excess of the
noise's, is more than `GATE_SNR`^2 within a fifth of a second. That is the square of the optimal SNR
of anything so short, whatever its waveform. The energy of a signal in a part of its time cannot
exceed its whole: no merger of an SNR below `GATE_SNR` in one detector is ever gated, however
massive and so however short and glitch-like it is. (The amplitude of whitened strain, by which
searches usually gate, tells less: at one SNR the amplitude of short signals is several times that
of long ones.) The loudest merger up to 2025, GW250114, had an SNR of 80 in two detectors together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.gap_filling import fill_gaps, find_runs
from data.tracked_psds import TrackedPSD, whiten_by_psds

# Of one detector. It lies above 100, louder than any signal that detectors of today should see in
# years, by more than noise adds: two thirds of signals of SNR 100 have energies of (99 to 101)^2.
GATE_SNR = 125.0
BLOCK_SECONDS = 1 / 32  # energies are summed in blocks
ENERGY_BLOCKS = 7  # neighbouring ones that the energy of a glitch is taken of: 0.19 s to 0.22 s
# A gate reaches as far as whitened strain is found above `LOUD` standard deviations, with breaks of
# no more than `JOIN_SECONDS`: noise alone does that once in a quarter of an hour. But a whitening
# filter rings at the frequencies of lines; what is less than `RINGING` of the glitch's peak is
# looked at again once the glitch is gone.
LOUD = 5.0
RINGING = 0.02
JOIN_SECONDS = 0.125
MARGIN_SECONDS = 1 / 32  # on either side of what is loud
# Beside a gate, the remains of its glitch are gated from this fraction of `GATE_SNR` on.
NEAR_SECONDS = 0.5
REMAINS = 0.1
MOST_ROUNDS = 6


@dataclass(frozen=True)
class Gate:
    """A glitch that was taken out.

    Attributes:
        detector: name.
        start: GPS time in s from which on the strain is not what was recorded.
        end: GPS time in s up to which it is not.
        peak: largest magnitude of the whitened strain within, in standard deviations of the noise.
        snr: root of its energy: the optimal SNR, where it is short.
    """

    detector: str
    start: float
    end: float
    peak: float
    snr: float

    def __str__(self) -> str:
        return (
            f"{self.detector} GPS {self.start:.2f} to {self.end:.2f}: glitch of SNR {self.snr:.0f}"
        )


@dataclass(frozen=True)
class LoudSpan:
    """Samples of whitened strain that belong to a glitch.

    Attributes:
        first: number of the first loud sample.
        last: number of the last one.
        peak: largest magnitude.
        energy: sum of the squares in excess of the noise's.
    """

    first: int
    last: int
    peak: float
    energy: float


def gate_glitches(
    x: np.ndarray,
    usable: np.ndarray,
    start: float,
    psds: Sequence[TrackedPSD],
    rate: int,
    detector: str,
    gate_snr: float = GATE_SNR,
) -> list[Gate]:
    """Replace loud glitches by what the strain around them lets one expect, in place.

    So the edges of a gate make no glitches of their own; see `data/gap_filling.py`.

    Args:
        x: (samples,) conditioned strain in 1e-21, finite, its gaps filled; changed. No glitches are
            looked for within a window's length of its ends.
        usable: (samples,) bool; changed to False in gates.
        start: GPS time in s of the first sample.
        psds: of all the strain, in order of time.
        rate: Hz.
        detector: name, for the gates.
        gate_snr: root of the energy above which a glitch is gated.

    Returns:
        The gates, in order of time; those that touch are one.
    """
    margin = math.ceil(MARGIN_SECONDS * rate)
    white = whiten_by_psds(x, start, psds, rate)
    # The filter sees where the strain breaks off at either end, which is no glitch.
    n = len(psds[0].power) - 1
    inner = np.zeros(len(x), bool)
    inner[n:-n] = True
    gated = np.zeros(len(x), bool)
    found: list[LoudSpan] = []
    for _ in range(MOST_ROUNDS):
        spans = find_loud_spans(white, usable & inner, rate, gate_snr, gated)
        if not spans:
            break
        found += spans
        for span in spans:
            part = slice(max(span.first - margin, 0), span.last + margin + 1)
            gated[part] = True
            usable[part] = False
        for span in spans:
            for hole in fill_gaps(x, usable, start, psds, rate, (span.first, span.last)):
                rewhiten(white, x, start, psds, rate, hole)
    return [
        make_gate(
            detector, start, rate, run, [span for span in found if run[0] <= span.first < run[1]]
        )
        for run in find_runs(gated)
    ]


def make_gate(
    detector: str, start: float, rate: int, run: tuple[int, int], spans: Sequence[LoudSpan]
) -> Gate:
    """Return the gate of a run of samples, from its first to the one after its last."""
    energy = sum(span.energy for span in spans)
    peak = max(span.peak for span in spans)
    begin, end = (start + number / rate for number in run)
    return Gate(detector, begin, end, peak, math.sqrt(energy))


def rewhiten(
    white: np.ndarray,
    x: np.ndarray,
    start: float,
    psds: Sequence[TrackedPSD],
    rate: int,
    part: tuple[int, int],
) -> None:
    """Whiten strain again around samples that were changed, in place.

    Args:
        white: (samples,) whitened strain; changed.
        x: (samples,) strain in 1e-21.
        start: GPS time in s of the first sample.
        psds: of all the strain, in order of time.
        rate: Hz.
        part: first sample that was changed, and the one after the last.
    """
    for psd in psds:
        n = len(psd.power) - 1  # the reach of the filter
        # whole samples of this PSD that what was changed reaches
        low = max(part[0] - n, round((psd.start - start) * rate))
        high = min(part[1] + n, round((psd.end - start) * rate))
        if low < high:
            piece = TrackedPSD(start + low / rate, start + high / rate, psd.power)
            begin, end = max(low - n, 0), min(high + n, len(x))
            white[low:high] = whiten_by_psds(x[begin:end], start + begin / rate, [piece], rate)


def find_loud_spans(
    white: np.ndarray,
    usable: np.ndarray,
    rate: int,
    gate_snr: float,
    gated: np.ndarray | None = None,
) -> list[LoudSpan]:
    """Return the glitches in whitened strain that are to be gated, in order of time.

    Args:
        white: (samples,) of unit variance.
        usable: (samples,) bool; others are not looked at.
        rate: Hz.
        gate_snr: root of the least energy.
        gated: (samples,) bool, gates that were made before; near them, less is enough.
    """
    size = round(BLOCK_SECONDS * rate)
    blocks = len(white) // size
    power = (white * usable)[: blocks * size].reshape(blocks, size)  # (blocks, samples)
    # The excess of a block: noise of unit variance has the energy 1 a sample.
    excess = np.einsum("bs,bs->b", power, power, dtype=np.float64) - size
    # The excess of `ENERGY_BLOCKS` blocks, the first of which is block i
    total = np.convolve(excess, np.ones(ENERGY_BLOCKS))[ENERGY_BLOCKS - 1 :]
    near = np.zeros(len(white), bool)
    for first, last in find_runs(gated) if gated is not None else ():
        reach = round(NEAR_SECONDS * rate)
        near[max(first - reach, 0) : last + reach] = True
    cores = np.flatnonzero(total > gate_snr**2)
    if not len(cores) and not near.any():
        return []
    # (blocks,) those that some core holds
    within = np.zeros(blocks + ENERGY_BLOCKS, bool)
    for core in cores:
        within[core : core + ENERGY_BLOCKS] = True
    loud = np.flatnonzero((np.abs(white) > LOUD) & usable)
    spans = []
    for group in np.split(loud, np.flatnonzero(np.diff(loud) > JOIN_SECONDS * rate) + 1):
        if not len(group):
            continue
        if near[group].any():
            least = (REMAINS * gate_snr) ** 2
        elif within[group // size].any():
            # Beside a glitch, a sample of noise that happens to be loud is no glitch.
            least = gate_snr**2 / 2
        else:
            continue
        peak = float(np.abs(white[group]).max())
        group = group[np.abs(white[group]) >= RINGING * peak]
        part = white[group[0] : group[-1] + 1].astype(np.float64)
        energy = float((part**2).sum() - len(part))
        if energy > least:
            spans.append(LoudSpan(int(group[0]), int(group[-1]), peak, energy))
    return spans
