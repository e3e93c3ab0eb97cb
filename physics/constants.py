"""Constants of nature, and units.

Detectors, rate and window stand in `physics.observation`. Numbers of published experiments in
configs.py are part of those experiments and stay there. This file imports no other part of the
project, and neither numpy nor torch.
"""

from __future__ import annotations

import math

# --- units and the time of simulated windows ----------------------------------------------------

# Strain is divided by this unit before it is squared: the square of 1e-24 underflows float32.
STRAIN_UNIT = 1e-21
TYPICAL_STRAIN = 1e-20  # standard deviation of a sample, roughly: for invented data and benchmarks

# Every simulated window begins at this GPS second, at which the sidereal time is known. The Earth
# turns by 0.15 mrad while a window lasts.
GPS_START = 1_126_259_462
SIDEREAL_TIME = 36137.05520547496 % math.tau  # rad, at Greenwich

# --- constants of nature ------------------------------------------------------------------------

SPEED_OF_LIGHT = 299_792_458.0  # m / s
SOLAR_MASS_SECONDS = 4.925490947e-6  # s, G M_sun / c^3
EARTH_ROTATION = 7.29211561701959e-5  # rad / s
MEAN_EARTH_RADIUS = 6_378_136.6  # m, IAU 2009, of the sphere on which ET's corners are placed
EARTH_MAJOR_AXIS, EARTH_MINOR_AXIS = 6_378_137.0, 6_356_752.314_245  # m, WGS-84
# s, from the Earth's centre to any detector; its elevation adds less than a microsecond.
LIGHT_TIME = EARTH_MAJOR_AXIS / SPEED_OF_LIGHT
