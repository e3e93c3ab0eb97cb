"""Antenna patterns of the detectors and light-travel delays, batched in torch.

Directions are fixed to the Earth: a longitude (right ascension less Greenwich sidereal time) and
a declination. Isotropic directions are then isotropic on the sky at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from physics.constants import SPEED_OF_LIGHT
from physics.sites import arms, vertex


class Network:
    """Antenna patterns and delays of several detectors.

    Args:
        detectors: names out of `SITES`.
        device: where the directions live.
    """

    def __init__(self, detectors: Sequence[str], device: torch.device | str = "cpu") -> None:
        axes = np.stack([arms(name) for name in detectors])  # (detector, 2, 3)
        travel = np.stack([vertex(name) for name in detectors]) / SPEED_OF_LIGHT  # (detector, 3)
        self.x_arm = torch.tensor(axes[:, 0], dtype=torch.float32, device=device)
        self.y_arm = torch.tensor(axes[:, 1], dtype=torch.float32, device=device)
        self.travel = torch.tensor(travel, dtype=torch.float32, device=device)

    def antenna_patterns(
        self, longitude: torch.Tensor, dec: torch.Tensor, psi: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return F+ and Fx, the response to either polarisation.

        Anderson et al., Physical Review D 63, 042003 (2001), appendix B.

        Args:
            longitude: right ascension less sidereal time, rad, any shape.
            dec: declination, rad, same shape.
            psi: polarisation angle, rad, same shape.

        Returns:
            Two tensors (..., detector).
        """
        sin_lon, cos_lon = longitude.sin(), longitude.cos()
        zero = torch.zeros_like(longitude)
        # Unit vectors to the south and the east on the sky at the source, (..., 3).
        south = torch.stack([cos_lon * dec.sin(), sin_lon * dec.sin(), -dec.cos()], dim=-1)
        east = torch.stack([-sin_lon, cos_lon, zero], dim=-1)
        sin_psi, cos_psi = psi.sin()[..., None], psi.cos()[..., None]
        m = -south * sin_psi - east * cos_psi
        n = -south * cos_psi + east * sin_psi
        # The polarisation axes of the wave, m and n, along each arm: (..., detector). As products
        # and sums, because a GPU may round a matrix product to ten bits (TF32).
        mx, my = self.project(m, self.x_arm), self.project(m, self.y_arm)
        nx, ny = self.project(n, self.x_arm), self.project(n, self.y_arm)
        # F+ = d^ij (m_i m_j - n_i n_j) and Fx = d^ij (m_i n_j + n_i m_j) with the detector tensor
        # d = (x x - y y) / 2 of the unit vectors x and y along its arms.
        return (mx**2 - my**2 - nx**2 + ny**2) / 2, mx * nx - my * ny

    def delays(self, longitude: torch.Tensor, dec: torch.Tensor) -> torch.Tensor:
        """Return the arrival time at each detector less that at the geocentre, s, (..., detector).

        Args:
            longitude: right ascension less sidereal time, rad, any shape.
            dec: declination, rad, same shape.
        """
        to_source = torch.stack(
            [dec.cos() * longitude.cos(), dec.cos() * longitude.sin(), dec.sin()], dim=-1
        )
        return -self.project(to_source, self.travel)

    @staticmethod
    def project(vectors: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
        """Return the scalar products of (..., 3) with every row of (detector, 3)."""
        return (vectors[..., None, :] * axes).sum(-1)  # (..., detector)
