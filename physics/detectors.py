"""The detectors' places and arms: antenna patterns and light-travel delays, batched in torch.

Directions are fixed to the Earth: a longitude (right ascension less Greenwich sidereal time) and
a declination. Isotropic directions are then isotropic on the sky at any time.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from physics.constants import EARTH_MAJOR_AXIS, EARTH_MINOR_AXIS, SPEED_OF_LIGHT

# Latitude, longitude, azimuth of the x and the y arm (from east to north) in degrees; elevation
# in m; tilt of the arms above the horizontal in rad. H1, L1: LIGO-T980044; V1: VIR-0001A-05 as
# in LALSuite.
SITES = {
    "H1": (
        46 + 27 / 60 + 18.528 / 3600,
        -(119 + 24 / 60 + 27.5657 / 3600),
        125.9994,
        215.9994,
        142.554,
        -6.195e-4,
        1.25e-5,
    ),
    "L1": (
        30 + 33 / 60 + 46.4196 / 3600,
        -(90 + 46 / 60 + 27.2654 / 3600),
        197.7165,
        287.7165,
        -6.574,
        -3.121e-4,
        -6.107e-4,
    ),
    "V1": (
        43 + 37 / 60 + 53.0921 / 3600,
        10 + 30 / 60 + 16.1887 / 3600,
        70.5674,
        160.5674,
        51.884,
        0.0,
        0.0,
    ),
}


def vertex(detector: str) -> np.ndarray:
    """Return where the arms meet: (3,) float64 in m, Earth-fixed Cartesian.

    Source: LIGO-T980044, section 2.1: a place of geodetic latitude and elevation above an
    ellipsoid of revolution.
    """
    latitude, longitude = (math.radians(angle) for angle in SITES[detector][:2])
    elevation = SITES[detector][4]
    major, minor = EARTH_MAJOR_AXIS, EARTH_MINOR_AXIS
    # The ellipsoid's radius of curvature in the prime vertical.
    radius = major**2 / math.hypot(major * math.cos(latitude), minor * math.sin(latitude))
    axis_distance = (radius + elevation) * math.cos(latitude)
    return np.array(
        [
            axis_distance * math.cos(longitude),
            axis_distance * math.sin(longitude),
            ((minor / major) ** 2 * radius + elevation) * math.sin(latitude),
        ]
    )


def arms(detector: str) -> np.ndarray:
    """Return the unit vectors along the arms: (2, 3) float64 (LIGO-T980044, appendix B)."""
    latitude, longitude = (math.radians(angle) for angle in SITES[detector][:2])
    east = np.array([-math.sin(longitude), math.cos(longitude), 0.0])
    north = np.array(
        [
            -math.sin(latitude) * math.cos(longitude),
            -math.sin(latitude) * math.sin(longitude),
            math.cos(latitude),
        ]
    )
    up = np.cross(east, north)
    directions = []
    # An azimuth is counted from east to north, a tilt from the horizontal upwards.
    for azimuth, tilt in zip(SITES[detector][2:4], SITES[detector][5:7], strict=True):
        level = math.cos(math.radians(azimuth)) * east + math.sin(math.radians(azimuth)) * north
        directions.append(math.cos(tilt) * level + math.sin(tilt) * up)
    return np.stack(directions)


class Network:
    """Antenna patterns and delays of several detectors.

    Args:
        detectors: names out of "H1", "L1", "V1".
        device: where the directions live.
    """

    def __init__(self, detectors: tuple[str, ...], device: torch.device | str = "cpu") -> None:
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
