"""The windows of a stretch as networks are shown them, and what is computed once for all of them.

`Whiten` multiplies a window by C^(-1/2). If a config's transforms begin with it, the stretch is
whitened as a whole instead, as that of a filter bank is (search/spectral_whitening.py, which says
how much the two differ), and windows are cut out of it.

A network that is shown something else was trained on strain with the noise of the detectors' design
curves, and real noise is different. Its windows are whitened by their own PSD and coloured with the
design curve, by one matrix a stretch and detector, and then go through the config's transforms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from configuration.class_with_arguments import Part, thaw
from data.tracked_psds import TrackedPSD
from physics.constants import STRAIN_UNIT
from physics.observation import Observation
from search.conditioning import noise_of
from search.spectral_whitening import Band, deviation_of_noise, robust_scale, whiten_series
from signal_transforms.whitening_operators import covariance_root
from transforms import Whiten

if TYPE_CHECKING:
    from search.conditioned_stretch import ConditionedStretch

KEPT_WINDOWS_BYTES = 2**29
SCALED_WINDOWS = 256  # of a stretch, that the scale of its whitening is measured in


@dataclass(frozen=True)
class WholeWhitening:
    """A `Whiten` that may whiten a whole stretch in place of its windows.

    Attributes:
        decimate: as in `Whiten`.
        band: likewise.
    """

    decimate: int = 1
    band: Band | None = None

    @classmethod
    def of_part(cls, part: Part, observation: Observation) -> WholeWhitening | None:
        """Return what a config's transform does; None if it is no `Whiten` that could.

        PSDs and matrices of the transform are those of the training. The strain has its own.
        """
        params = thaw(part.params)
        plain = {"sr": observation.sample_rate, "unit": STRAIN_UNIT, "always_apply": True}
        rest = {key for key, value in params.items() if key not in plain or value != plain[key]}
        known = {"band", "order", "decimate", "psds", "matrices"}
        if part.cls is not Whiten or not rest <= known:
            return None
        decimate, band = int(params.get("decimate", 1)), params.get("band")
        if observation.num_samples % decimate:
            return None
        if band is not None:
            band = Band(float(band[0]), float(band[1]), int(params.get("order", 8)))
        return cls(decimate, band)


class WhitenedWindows:
    """Windows of strain that is whitened as a whole.

    Args:
        whitenings: by field of the batch.
        stretch: which detectors have strain, and their PSDs.
        strain: (D, samples) in 1e-21, with what stands for the missing detectors.
        starts: (windows,) first samples of the windows, multiples of the decimations.
        device: to keep the strain on.
    """

    def __init__(
        self,
        whitenings: Mapping[str, WholeWhitening],
        stretch: ConditionedStretch,
        strain: np.ndarray,
        starts: np.ndarray,
        device: torch.device,
    ) -> None:
        self.starts, self.whitenings = starts, whitenings
        self.samples = stretch.observation.num_samples
        self.series: dict[str, Tensor] = {}  # by field, (D, samples / d)
        for field, whitening in whitenings.items():
            rows = [
                whiten_channel(whitening, stretch, channel, row)
                for channel, row in enumerate(strain)
            ]
            self.series[field] = torch.from_numpy(np.stack(rows)).to(device)

    def cut(self, shown: np.ndarray) -> dict[str, Tensor]:
        """Return windows by field of the batch, (n, D, time).

        Args:
            shown: (D, n), which of its own windows each channel shows.
        """
        windows = {}
        for field, series in self.series.items():
            decimate = self.whitenings[field].decimate
            views = series.unfold(-1, self.samples // decimate, 1)  # (D, places, time)
            places = torch.from_numpy(self.starts[shown] // decimate).to(series.device)
            windows[field] = torch.stack([views[c, each] for c, each in enumerate(places)], dim=1)
        return windows


def whiten_channel(
    whitening: WholeWhitening, stretch: ConditionedStretch, channel: int, strain: np.ndarray
) -> np.ndarray:
    """Return the whitened strain of a channel, (samples / d,) float32.

    What stands for a missing detector is zeros or noise of its design curve.
    """
    observation, name = stretch.observation, stretch.observation.detectors[channel]
    if name in stretch.stretch.detectors:
        usable, psds = stretch.usable[name], stretch.psds[name]
    elif not strain.any():
        return np.zeros(len(strain) // whitening.decimate, np.float32)
    else:
        usable = np.ones(len(strain), bool)
        # Below its lowest frequency the noise has no power; its PSD must have some to divide by.
        power = noise_of(name, observation).psd_on_grid(2 * observation.num_samples, floor=1.0)
        psds = [TrackedPSD(stretch.stretch.start, stretch.stretch.end, power)]
    return whiten_series(
        strain, usable, psds, stretch.stretch.start, observation, whitening.decimate, whitening.band
    ).values


class Recolouring(Protocol):
    """What makes windows of strain look like those of the training; `WindowScorer` does."""

    device: torch.device

    def adapt(self, whitening: Mapping[str, np.ndarray]) -> None:
        """Prepare for strain that these matrices whiten, by detector."""

    def conditioning(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return windows of strain as they were adapted to."""

    def release(self) -> None:
        """Forget the matrices."""


class RecolouredWindows:
    """Windows that are whitened and recoloured one by one, each detector's by one matrix.

    They are computed once and kept if they fit `KEPT_WINDOWS_BYTES`, which are 18 minutes of three
    detectors for ten windows of 4,096 samples a second. Otherwise every slide computes its own.

    Args:
        scorer: recolours the windows.
        stretch: which detectors have strain, and their PSDs.
        strain: (D, samples) in 1e-21, with what stands for the missing detectors.
        starts: (windows,) first samples of the windows.
        clean: by detector with strain, (windows,) bool: those without a gap.
        batch_size: windows conditioned at once.
    """

    def __init__(
        self,
        scorer: Recolouring,
        stretch: ConditionedStretch,
        strain: np.ndarray,
        starts: np.ndarray,
        clean: Mapping[str, np.ndarray],
        batch_size: int,
    ) -> None:
        self.scorer, self.observation = scorer, stretch.observation
        self.strain, self.starts, self.clean = strain, starts, clean
        scorer.release()  # two sets of matrices at a time would be the peak of memory
        detectors = self.observation.detectors
        scorer.adapt(
            {
                name: self.whitening_matrix(detectors.index(name), stretch.psds[name])
                for name in stretch.stretch.detectors
            }
        )
        self.kept: list[dict[str, Tensor]] | None = None  # by channel, (windows, time) by field
        count, channels = len(starts), len(strain)

        def numbered(numbers: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
            return self.condition(np.tile(np.asarray(numbers, np.int64), (channels, 1)))

        if count == 0:
            return
        one = sum(value.element_size() * value.numel() for value in numbered([0]).values())
        if count * one <= KEPT_WINDOWS_BYTES:
            edges = range(batch_size, count, batch_size)
            parts = [numbered(part) for part in np.split(np.arange(count), edges)]
            # (n, D, time) -> by channel (n, time)
            self.kept = [
                {key: torch.cat([part[key][:, c] for part in parts]) for key in parts[0]}
                for c in range(channels)
            ]

    def whitening_matrix(self, channel: int, psds: Sequence[TrackedPSD]) -> np.ndarray:
        """Return C^(-1/2) of a detector in this stretch, scaled to unit power of the noise.

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
        if rows is None:
            return matrix
        return matrix * (
            deviation_of_noise(self.observation) / robust_scale((rows @ matrix).ravel())
        )

    @torch.inference_mode()
    def condition(self, shown: np.ndarray) -> dict[str, Tensor]:
        """Return windows by field of the batch, computed anew; see `cut`."""
        size = self.observation.num_samples
        views = np.lib.stride_tricks.sliding_window_view(self.strain, size, axis=1)
        windows = [views[c, self.starts[numbers]] for c, numbers in enumerate(shown)]
        # D times (n, time) -> (n, D, time)
        strain = torch.from_numpy(np.stack(windows, axis=1)).to(self.scorer.device) * STRAIN_UNIT
        return self.scorer.conditioning({"waveform": strain})

    def cut(self, shown: np.ndarray) -> dict[str, Tensor]:
        """Return windows by field of the batch, (n, D, time).

        Args:
            shown: (D, n), which of its own windows each channel shows.
        """
        if self.kept is None:
            return self.condition(shown)
        return {
            key: torch.stack([one[key][own] for one, own in zip(self.kept, shown, strict=True)], 1)
            for key in self.kept[0]
        }
