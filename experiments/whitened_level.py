"""How loud strain is after an exact whitening, beside what the networks were trained on.

Noise of the curves that a run was trained with comes out of `Whiten` with unit variance. Noise that
is louder or quieter by far is no strain as recorded, or that of other detectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transforms import Compose, Whiten

FAR = 3.0  # factor from the expected deviation beyond which strain is not what is expected
GAUSSIAN = math.sqrt(2 / math.pi)  # mean magnitude of a Gaussian of unit variance


class WhitenedLevel:
    """Listens to the exact whitening of a chain and keeps how loud each sample comes out of it.

    Args:
        chain: the transforms of a run; None, or a chain that does not begin with `Whiten`, is not
            measured.

    Attributes:
        expected: standard deviation of the noise that the run expects; None where nothing is
            measured.
    """

    def __init__(self, chain: nn.Module | None) -> None:
        first = next(iter(chain), None) if isinstance(chain, Compose) else chain
        self.expected: float | None = None
        self.found: list[Tensor] = []  # (batch, detector) each
        self.detectors: tuple[str, ...] = ()
        if isinstance(first, Whiten) and first.always_apply:
            share = 1.0
            if first.band is not None:
                low, high = first.band
                share = (min(high, first.sr / 2) - low) / (first.sr / 2)
            self.expected = math.sqrt(share)
            self.detectors = first.observation.detectors
            first.register_forward_hook(self.listen)

    def listen(self, module: nn.Module, given: Any, whitened: Tensor) -> None:
        """Keep the standard deviation of each sample and detector."""
        # From the mean magnitude: strain that is whitened already would overflow when squared.
        # (batch, detector, time) -> (batch, detector)
        self.found.append(whitened.abs().mean(-1) / GAUSSIAN)

    def deviations(self) -> np.ndarray:
        """Return standard deviations by the expected ones, (samples and views, detector)."""
        if self.expected is None or not self.found:
            return np.empty((0, len(self.detectors)))
        return torch.cat(self.found).double().cpu().numpy() / self.expected

    def format_warning(self) -> str:
        """Return a sentence where a detector's median is far from one, or else nothing.

        Channels of zeros, as of detectors that are missing, are left out.
        """
        found = self.deviations()
        if not len(found):
            return ""
        medians = np.median(found, axis=0)  # (detector,)
        with np.errstate(divide="ignore"):
            distance = np.where(medians > 0, np.abs(np.log(medians)), 0)
        worst = int(distance.argmax())
        if not distance[worst] > math.log(FAR):
            return ""
        return (
            f"the whitened strain of {self.detectors[worst]} has {medians[worst]:.3g} times the "
            f"standard deviation that the run expects (median over samples), so that the scores "
            f"say little: give strain as recorded, with noise of the run's detectors, not white "
            f"and not scaled"
        )
