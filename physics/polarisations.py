"""The polarisations of a binary by LALSimulation: the one place that calls it.

Importing this file does not import LALSuite.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runtime.errors import UserError, nearest
from runtime.optional_packages import require

# Waveforms of the modes (2, +-2) alone in the frame that turns with the orbit. An orbital phase
# multiplies the spectra of h+ and hx by exp(2 i phase), with the spins held in the frame of the
# total angular momentum. Tests compare every one of them with LALSimulation at another phase.
PHASE_IS_A_FACTOR = ("IMRPhenomD", "IMRPhenomPv2", "IMRPhenomXAS", "IMRPhenomXP")
# The same is true of these where the modes are (2, +-2) alone.
WITH_ONE_MODE = ("IMRPhenomXHM", "IMRPhenomXPHM")
# Effective-one-body waveforms in time, which LALSimulation's gwsignal lets the package pyseobnr
# compute: no part of LALSuite.
WITH_PYSEOBNR = ("SEOBNRv5HM", "SEOBNRv5PHM")
# The largest m of the modes of a waveform, where it is above 2.
HIGHEST_MODE = {"IMRPhenomHM": 4, "IMRPhenomXHM": 4, "IMRPhenomXPHM": 4, "IMRPhenomXO4a": 4}
HIGHEST_MODE |= dict.fromkeys(WITH_PYSEOBNR, 5)
ALIGNED = 1e-6  # spin across the orbital axis that is taken for none
WITHOUT_PRECESSION = (*("IMRPhenomD", "IMRPhenomXAS", "IMRPhenomHM", "IMRPhenomXHM"), "SEOBNRv5HM")


def lalsimulation_names() -> list[str]:
    """Return the approximants that LALSimulation implements."""
    lalsimulation = require("lalsimulation", "sim")
    names = []
    for number in range(lalsimulation.NumApproximants):
        domains = (
            lalsimulation.SimInspiralImplementedFDApproximants,
            lalsimulation.SimInspiralImplementedTDApproximants,
        )
        if any(implemented(number) for implemented in domains):
            names.append(lalsimulation.GetStringFromApproximant(number))
    return names


@functools.cache
def find_approximant(name: str) -> int:
    """Return LALSimulation's number of an approximant.

    Raises:
        UserError: there is none of that name, or LALSuite is not installed.
    """
    lalsimulation = require("lalsimulation", "sim")
    names = lalsimulation_names()
    if name not in names:
        raise UserError(
            f"population.approximant = {name!r}: LALSimulation {lalsimulation.__version__} has no "
            f"such waveform{nearest(name, [*names, *WITH_PYSEOBNR])}: choose one such as "
            f"IMRPhenomPv2, IMRPhenomXPHM or SEOBNRv4_ROM"
        )
    return lalsimulation.GetApproximantFromString(name)


def check_approximant(name: str) -> None:
    """Check that waveforms of an approximant can be computed here.

    Raises:
        UserError: there is none of that name, or a package that computes it is not installed.
    """
    if name not in WITH_PYSEOBNR:
        find_approximant(name)
        return
    require("lalsimulation", "sim")
    # Looked up without importing it, which takes seconds.
    if importlib.util.find_spec("pyseobnr") is None:
        raise UserError(
            f"population.approximant = {name!r} is computed by the package pyseobnr, which is not "
            f"installed: install it with `pip install pyseobnr`, or choose another such as "
            f"IMRPhenomXPHM"
        )


def is_in_frequency(name: str) -> bool:
    """Return whether an approximant is computed as spectra, which begin at a frequency at once.

    Those in time are tapered.

    Raises:
        UserError: see `check_approximant`.
    """
    check_approximant(name)
    if name in WITH_PYSEOBNR:
        return False
    import lalsimulation

    number = find_approximant(name)
    return bool(lalsimulation.SimInspiralImplementedFDApproximants(number))


def check_modes(modes: Sequence[int]) -> None:
    """Check that modes are written as two digits, l and m.

    Raises:
        UserError: one is not.
    """
    for mode in modes:
        if (
            not isinstance(mode, int)
            or not 2 <= mode // 10 <= 9
            or not 1 <= mode % 10 <= mode // 10
        ):
            raise UserError(
                f"population.modes = {list(modes)}: expected modes as two digits, l and m, such as "
                f"[22,21,33,32,44]"
            )


def phase_is_a_factor(approximant: str, modes: Sequence[int] = ()) -> bool:
    """Return whether an orbital phase only multiplies the spectra by exp(2 i phase)."""
    has_one_mode = approximant in WITH_ONE_MODE and tuple(modes) == (22,)
    return approximant in PHASE_IS_A_FACTOR or has_one_mode


def highest_m(approximant: str, modes: Sequence[int]) -> int:
    """Return the largest m of a waveform's modes; its frequency is m times that of the orbit."""
    if modes:
        return max(mode % 10 for mode in modes)
    return HIGHEST_MODE.get(approximant, 4 if "HM" in approximant else 2)


def polarisations(
    parameters: Mapping[str, float],
    approximant: str,
    sample_rate: float,
    duration: float,
    min_frequency: float,
    reference_frequency: float,
    distance: float,
    modes: Sequence[int] = (),
    phase: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectra of h+ and hx, the merger at time zero.

    Args:
        parameters: mass_1, mass_2 (detector frame, solar masses), a_1, a_2, tilt_1, tilt_2,
            phi_12, phi_jl and theta_jn as in bilby.
        approximant: a name of LALSimulation's, or of `WITH_PYSEOBNR`.
        sample_rate: Hz; the spectra reach half of it.
        duration: of the periodic series that the spectra stand for, s.
        min_frequency: where the (2, 2) mode begins, Hz.
        reference_frequency: at which spins and phase are defined, Hz.
        distance: luminosity distance, Mpc.
        modes: those to include, as two digits l and m, each with -m; empty for all.
        phase: orbital phase at the reference frequency, rad.

    Returns:
        Two complex128 arrays at the frequencies k / duration, strain / Hz.

    Raises:
        UserError: there is no such approximant, or it cannot be computed for this binary.
    """
    check_approximant(approximant)
    import lal
    import lalsimulation

    mass_1_si, mass_2_si = (float(parameters[f"mass_{body}"]) * lal.MSUN_SI for body in (1, 2))
    names = ("theta_jn", "phi_jl", "tilt_1", "tilt_2", "phi_12", "a_1", "a_2")
    angles = [float(parameters[name]) for name in names]
    inclination, *spins = lalsimulation.SimInspiralTransformPrecessingNewInitialConditions(
        *angles, mass_1_si, mass_2_si, reference_frequency, phase
    )
    if approximant in WITH_PYSEOBNR:
        if approximant in WITHOUT_PRECESSION:
            spins = spins_along_the_orbit(parameters, approximant)
        plus, cross = pyseobnr_spectra(
            parameters,
            approximant,
            spins,
            {
                "inclination": inclination,
                "phi_ref": phase,
                "distance": distance,
                "deltaF": 1 / duration,
                "f_max": sample_rate / 2,
                "f22_start": min_frequency,
                "f22_ref": reference_frequency,
            },
            modes,
        )
        return merger_at_zero(plus.value, cross.value, plus.df.value, float(plus.epoch.value))
    number = find_approximant(approximant)
    support = lalsimulation.SimInspiralGetSpinSupportFromApproximant(number)
    if support == lalsimulation.SIM_INSPIRAL_ALIGNEDSPIN:
        spins = spins_along_the_orbit(parameters, approximant)
    options = lal.CreateDict()
    if modes:
        chosen = lalsimulation.SimInspiralCreateModeArray()
        for mode in modes:
            for m in (mode % 10, -(mode % 10)):
                lalsimulation.SimInspiralModeArrayActivateMode(chosen, mode // 10, m)
        lalsimulation.SimInspiralWaveformParamsInsertModeArray(options, chosen)
    in_frequency = lalsimulation.SimInspiralImplementedFDApproximants(number)
    compute = (
        lalsimulation.SimInspiralChooseFDWaveform if in_frequency else lalsimulation.SimInspiralFD
    )
    try:
        plus, cross = compute(
            mass_1_si,
            mass_2_si,
            *spins,
            distance * 1e6 * lal.PC_SI,
            inclination,
            phase,
            0.0,
            0.0,
            0.0,
            1 / duration,
            min_frequency,
            sample_rate / 2,
            reference_frequency,
            options,
            number,
        )
    except RuntimeError as error:
        raise not_computed(parameters, approximant, "LALSimulation", error) from error
    if in_frequency:
        return plus.data.data, cross.data.data
    epoch = plus.epoch.gpsSeconds + plus.epoch.gpsNanoSeconds * 1e-9
    return merger_at_zero(plus.data.data, cross.data.data, plus.deltaF, epoch)


def not_computed(
    parameters: Mapping[str, float], approximant: str, program: str, error: Exception
) -> UserError:
    """Return the error of a waveform that a program cannot compute."""
    values = ", ".join(f"{key} = {float(value):.4g}" for key, value in parameters.items())
    return UserError(
        f"population.approximant = {approximant}: {program} cannot compute the waveform of "
        f"{values} ({error}): choose another approximant, other modes, or a narrower law"
    )


def merger_at_zero(
    plus: np.ndarray, cross: np.ndarray, step: float, epoch: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return spectra of series in time with the merger at time zero.

    A series in time has its merger somewhere: its epoch says where it begins, relative to that.

    Args:
        plus, cross: spectra, (frequency,).
        step: between frequencies, Hz.
        epoch: s.
    """
    turn = np.exp(-2j * np.pi * (1 / step + epoch) * step * np.arange(len(plus)))
    return plus * turn, cross * turn


def pyseobnr_spectra(
    parameters: Mapping[str, float],
    approximant: str,
    spins: Sequence[float],
    settings: Mapping[str, float],
    modes: Sequence[int],
) -> tuple[Any, Any]:
    """Return the spectra of h+ and hx by pyseobnr, gwpy's series with their epochs.

    gwsignal is called as bilby calls it (`bilby.gw.source.gwsignal_binary_black_hole`).

    Args:
        parameters: see `polarisations`.
        approximant: one of `WITH_PYSEOBNR`.
        spins: Cartesian, of both bodies.
        settings: of gwsignal, in rad, Mpc and Hz.
        modes: as two digits l and m; empty for all.

    Raises:
        UserError: it cannot be computed for this binary.
    """
    from astropy import units
    from lalsimulation.gwsignal.core.waveform import GenerateFDWaveform
    from lalsimulation.gwsignal.models import gwsignal_get_waveform_generator

    names = [f"spin{body}{axis}" for body in (1, 2) for axis in "xyz"]
    of_unit = {"distance": units.Mpc}
    of_unit |= dict.fromkeys(("deltaF", "f_max", "f22_start", "f22_ref"), units.Hz)
    of_unit |= dict.fromkeys(("inclination", "phi_ref"), units.rad)
    masses = {f"mass{body}": float(parameters[f"mass_{body}"]) for body in (1, 2)}
    arguments = {name: mass * units.solMass for name, mass in masses.items()}
    arguments |= {
        name: float(value) * units.dimensionless_unscaled
        for name, value in zip(names, spins, strict=True)
    }
    arguments |= {name: value * of_unit[name] for name, value in settings.items()}
    arguments["eccentricity"] = 0.0 * units.dimensionless_unscaled
    arguments |= dict.fromkeys(("longAscNodes", "meanPerAno"), 0.0 * units.rad)
    arguments["condition"] = 1  # tapered, and as long as 1 / deltaF
    if modes:
        arguments["ModeArray"] = [divmod(mode, 10) for mode in modes]  # -m goes with each m
    try:
        found = GenerateFDWaveform(arguments, gwsignal_get_waveform_generator(approximant))
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise not_computed(parameters, approximant, "pyseobnr", error) from error
    return found.hp, found.hc


def spins_along_the_orbit(parameters: Mapping[str, float], approximant: str) -> list[float]:
    """Return the Cartesian spins of both bodies for a waveform without precession.

    The sine of the tilt pi is not quite zero in floating point, and LALSimulation refuses the rest.

    Raises:
        UserError: a spin is tilted.
    """
    spins = []
    for body in (1, 2):
        spin, tilt = float(parameters[f"a_{body}"]), float(parameters[f"tilt_{body}"])
        if abs(spin * math.sin(tilt)) > ALIGNED:
            raise UserError(
                f"population.approximant = {approximant} has no precession, and a spin is tilted "
                f"by {tilt:.3g} rad: choose population.spins = NoSpins or AlignedSpins, or an "
                f"approximant such as IMRPhenomXPHM"
            )
        spins += [0.0, 0.0, spin * math.cos(tilt)]
    return spins
