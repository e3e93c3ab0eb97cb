"""Gates: loud glitches taken out of conditioned strain, and where they were."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """A glitch that was multiplied away.

    Attributes:
        detector: name.
        start: GPS time in s from which on the strain is not what was recorded.
        end: GPS time in s up to which it is not.
        peak: largest magnitude of the whitened strain within, in standard deviations of the noise.
    """

    detector: str
    start: float
    end: float
    peak: float
