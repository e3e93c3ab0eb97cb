"""Where the detectors stand and where their arms point, as numbers.

It does not import torch, so that worker processes that only compute waveforms start fast.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from physics.constants import EARTH_MAJOR_AXIS, EARTH_MINOR_AXIS, MEAN_EARTH_RADIUS, SPEED_OF_LIGHT
from runtime.errors import UserError, nearest


class Site(NamedTuple):
    """Where the arms of a detector meet and where they point.

    Attributes:
        latitude, longitude: geodetic, degrees.
        elevation: above the ellipsoid WGS-84, m.
        x_azimuth, y_azimuth: of the arms, counted from east to north, degrees.
        x_tilt, y_tilt: of the arms above the horizontal, rad.
        curve: the noise curve that is taken where an observation names none.
    """

    latitude: float
    longitude: float
    x_azimuth: float
    y_azimuth: float
    elevation: float
    x_tilt: float = 0.0
    y_tilt: float = 0.0
    curve: str = ""


# H1, L1: LIGO-T980044; V1: VIR-0001A-05 as in LALSuite. The others as in bilby's
# `.interferometer` files, which name their sources: A1 (LIGO Aundha) LIGO-T2000158, CE at the site
# of H1 and GEO600 arXiv:gr-qc/0008066, K1 KAGRA's document 3824, NEMO arXiv:2007.03128.
SITES = {
    "H1": Site(
        latitude=46 + 27 / 60 + 18.528 / 3600,
        longitude=-(119 + 24 / 60 + 27.5657 / 3600),
        x_azimuth=125.9994,
        y_azimuth=215.9994,
        elevation=142.554,
        x_tilt=-6.195e-4,
        y_tilt=1.25e-5,
        curve="ligo_O4high",
    ),
    "L1": Site(
        latitude=30 + 33 / 60 + 46.4196 / 3600,
        longitude=-(90 + 46 / 60 + 27.2654 / 3600),
        x_azimuth=197.7165,
        y_azimuth=287.7165,
        elevation=-6.574,
        x_tilt=-3.121e-4,
        y_tilt=-6.107e-4,
        curve="ligo_O4high",
    ),
    "V1": Site(
        latitude=43 + 37 / 60 + 53.0921 / 3600,
        longitude=10 + 30 / 60 + 16.1887 / 3600,
        x_azimuth=70.5674,
        y_azimuth=160.5674,
        elevation=51.884,
        curve="virgo_O4high",
    ),
    "K1": Site(
        latitude=36 + 24 / 60 + 42.69722 / 3600,
        longitude=137 + 18 / 60 + 21.44171 / 3600,
        x_azimuth=90 - 60.39623489157727,
        y_azimuth=90 + 29.60357629670688,
        elevation=414.181,
        x_tilt=0.0031414,
        y_tilt=-0.0036270,
        curve="KAGRA_design",
    ),
    "A1": Site(
        latitude=19 + 36 / 60 + 47.9017 / 3600,
        longitude=77 + 1 / 60 + 51.0997 / 3600,
        x_azimuth=117.6157,
        y_azimuth=207.6165,
        elevation=440.0,
        curve="Aplus",
    ),
    "GEO600": Site(
        latitude=52 + 14 / 60 + 42.528 / 3600,
        longitude=9 + 48 / 60 + 25.894 / 3600,
        x_azimuth=21.6117,
        y_azimuth=115.9431,
        elevation=114.425,
        curve="GEO600_S6e",
    ),
    "CE": Site(
        latitude=46 + 27 / 60 + 18.528 / 3600,
        longitude=-(119 + 24 / 60 + 27.5657 / 3600),
        x_azimuth=125.9994,
        y_azimuth=215.994,
        elevation=142.554,
        x_tilt=-6.195e-4,
        y_tilt=1.25e-5,
        curve="CE",
    ),
    "NEMO": Site(
        latitude=-31.34,
        longitude=115.91,
        x_azimuth=2.0,
        y_azimuth=125.0,
        elevation=0.0,
        curve="NEMO",
    ),
}


def triangle(first: Site, side: float, name: str) -> dict[str, Site]:
    """Return the three detectors of a triangle, of which one corner and its arms are given.

    The sides are walked on a sphere, each in a direction turned by 240 degrees from the one before
    it. With delta = side / radius and the bearing theta from north to east, sin(lat') = sin(lat)
    cos(delta) + cos(lat) sin(delta) cos(theta), and the longitude grows by atan2(sin(theta)
    sin(delta) cos(lat), cos(delta) - sin(lat) sin(lat')). The arms turn by 240 degrees as well.

    Bearings run clockwise and azimuths counter-clockwise, so that the arms of the second and the
    third detector are those of each other's corner. It is so in bilby, and kept so that parameters
    mean the same there. The network sees the same but for 33 microseconds, the light's way.
    """
    sites, site = {}, first
    for number in (1, 2, 3):
        sites[f"{name}{number}"] = site
        latitude = math.radians(site.latitude)
        bearing = math.radians(90 - first.x_azimuth + 240 * (number - 1))
        delta = side / MEAN_EARTH_RADIUS
        sine = math.sin(latitude) * math.cos(delta)
        sine += math.cos(latitude) * math.sin(delta) * math.cos(bearing)
        step = math.atan2(
            math.sin(bearing) * math.sin(delta) * math.cos(latitude),
            math.cos(delta) - math.sin(latitude) * sine,
        )
        site = site._replace(
            latitude=math.degrees(math.asin(sine)),
            longitude=site.longitude + math.degrees(step),
            x_azimuth=site.x_azimuth + 240,
            y_azimuth=site.y_azimuth + 240,
        )
    return sites


# The Einstein Telescope as a triangle of 10 km at the site of Virgo, as in bilby.
SITES |= triangle(
    Site(
        latitude=43 + 37 / 60 + 53.0921 / 3600,
        longitude=10 + 30 / 60 + 16.1878 / 3600,
        x_azimuth=70.5674,
        y_azimuth=130.5674,
        elevation=51.884,
        curve="ET_D",
    ),
    side=10_000.0,
    name="ET",
)


def find_site(detector: str) -> Site:
    """Return where a detector stands.

    Raises:
        UserError: it is not known.
    """
    if detector not in SITES:
        raise UserError(
            f"there is no detector {detector!r}{nearest(detector, SITES)}: choose from "
            f"{', '.join(sorted(SITES))}"
        )
    return SITES[detector]


def vertex(detector: str) -> np.ndarray:
    """Return where the arms meet: (3,) float64 in m, Earth-fixed Cartesian.

    Source: LIGO-T980044, section 2.1: a place of geodetic latitude and elevation above an
    ellipsoid of revolution.
    """
    site = find_site(detector)
    latitude, longitude = math.radians(site.latitude), math.radians(site.longitude)
    major, minor = EARTH_MAJOR_AXIS, EARTH_MINOR_AXIS
    # The ellipsoid's radius of curvature in the prime vertical.
    radius = major**2 / math.hypot(major * math.cos(latitude), minor * math.sin(latitude))
    axis_distance = (radius + site.elevation) * math.cos(latitude)
    return np.array(
        [
            axis_distance * math.cos(longitude),
            axis_distance * math.sin(longitude),
            ((minor / major) ** 2 * radius + site.elevation) * math.sin(latitude),
        ]
    )


def arms(detector: str) -> np.ndarray:
    """Return the unit vectors along the arms: (2, 3) float64 (LIGO-T980044, appendix B)."""
    site = find_site(detector)
    latitude, longitude = math.radians(site.latitude), math.radians(site.longitude)
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
    for azimuth, tilt in ((site.x_azimuth, site.x_tilt), (site.y_azimuth, site.y_tilt)):
        level = math.cos(math.radians(azimuth)) * east + math.sin(math.radians(azimuth)) * north
        directions.append(math.cos(tilt) * level + math.sin(tilt) * up)
    return np.stack(directions)


@functools.cache
def longest_delay(first: str, second: str) -> float:
    """Return the time that light needs from one detector to another, s."""
    return float(np.linalg.norm(vertex(first) - vertex(second))) / SPEED_OF_LIGHT
