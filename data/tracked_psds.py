"""PSDs that follow the noise of a detector through a stretch of strain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrackedPSD:
    """The PSD of the noise between two times.

    Attributes:
        start: GPS time in s from which on it is valid.
        end: GPS time in s up to which it is valid.
        power: (num_samples + 1,) float64, one-sided, in (1e-21)^2 / Hz, positive, at every half of
            1 / window; see `strain_conditioning.measure_psd`.
    """

    start: float
    end: float
    power: np.ndarray
