"""Waveforms of LALSimulation beside bilby's, and what an orbital phase does to them."""

from __future__ import annotations

import importlib.util
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from physics.polarisations import (
    PHASE_IS_A_FACTOR,
    WITH_PYSEOBNR,
    WITHOUT_PRECESSION,
    check_approximant,
    check_modes,
    find_approximant,
    highest_m,
    is_in_frequency,
    phase_is_a_factor,
    polarisations,
)
from runtime.errors import UserError

pytest.importorskip("lalsimulation")
PRECESSING = {
    "mass_1": 36.0,
    "mass_2": 20.0,
    "a_1": 0.6,
    "a_2": 0.4,
    "tilt_1": 0.7,
    "tilt_2": 1.9,
    "phi_12": 1.7,
    "phi_jl": 0.3,
    "theta_jn": 1.1,
}
ALIGNED = PRECESSING | {"tilt_1": 0.0, "tilt_2": math.pi, "phi_12": 0.0, "phi_jl": 0.0}
SERIES = {"sample_rate": 2048, "duration": 4.0, "min_frequency": 25.0}
REFERENCE, DISTANCE, SET_3 = 20.0, 800.0, (22, 21, 33, 32, 44)


def spectra(approximant: str, phase: float, modes: tuple[int, ...] = ()) -> np.ndarray:
    """Return h+ and hx, (2, frequency)."""
    binary = ALIGNED if approximant in WITHOUT_PRECESSION else PRECESSING
    arguments = {"reference_frequency": REFERENCE, "distance": DISTANCE}
    return np.stack(
        polarisations(binary, approximant, **SERIES, **arguments, modes=modes, phase=phase)
    )


@pytest.mark.parametrize(
    ("approximant", "modes"),
    [
        *((name, ()) for name in PHASE_IS_A_FACTOR),
        ("IMRPhenomXPHM", (22,)),
        ("IMRPhenomXHM", (22,)),
    ],
)
def test_a_phase_is_a_factor_of_these(approximant: str, modes: tuple[int, ...]) -> None:
    assert phase_is_a_factor(approximant, modes)
    first, second = spectra(approximant, 0.0, modes), spectra(approximant, 1.1, modes)
    assert np.abs(second - first * np.exp(2.2j)).max() < 1e-8 * np.abs(first).max()


@pytest.mark.parametrize("modes", [(), SET_3])
def test_a_phase_is_no_factor_with_higher_modes(modes: tuple[int, ...]) -> None:
    assert not phase_is_a_factor("IMRPhenomXPHM", modes)
    assert highest_m("IMRPhenomXPHM", modes) == 4
    first, second = spectra("IMRPhenomXPHM", 0.0, modes), spectra("IMRPhenomXPHM", 1.1, modes)
    assert np.abs(second - first * np.exp(2.2j)).max() > 0.05 * np.abs(first).max()


@pytest.mark.parametrize(
    ("approximant", "modes"),
    [
        ("IMRPhenomD", ()),
        ("IMRPhenomPv2", ()),
        ("IMRPhenomXPHM", SET_3),
        ("IMRPhenomXPHM", (33,)),
        ("IMRPhenomT", ()),  # in time
    ],
)
def test_they_are_those_of_bilby(approximant: str, modes: tuple[int, ...], monkeypatch) -> None:
    bilby = pytest.importorskip("bilby")
    binary = ALIGNED if approximant in (*WITHOUT_PRECESSION, "IMRPhenomT") else PRECESSING
    ours = polarisations(
        binary,
        approximant,
        **SERIES,
        reference_frequency=REFERENCE,
        distance=DISTANCE,
        modes=modes,
        phase=0.9,
    )
    settings = {"waveform_approximant": approximant, "minimum_frequency": SERIES["min_frequency"]}
    if modes:
        settings["mode_array"] = [[mode // 10, mode % 10] for mode in modes]
    frequencies = np.arange(4097) / SERIES["duration"]
    theirs = bilby.gw.source.lal_binary_black_hole(
        frequencies,
        **binary,
        luminosity_distance=DISTANCE,
        phase=0.9,
        reference_frequency=REFERENCE,
        **settings,
    )
    seen = frequencies >= SERIES["min_frequency"]  # bilby has nothing below
    for mine, other in zip(ours, (theirs["plus"], theirs["cross"]), strict=True):
        assert np.abs(mine[seen] - other[seen]).max() < 1e-8 * np.abs(theirs["plus"]).max()


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"no such waveform .did you mean 'IMRPhenomXPHM'"):
        find_approximant("IMRPhenomXPMH")
    with pytest.raises(UserError, match=r"no such waveform .did you mean 'SEOBNRv5PHM'"):
        check_approximant("SEOBNRv5PMH")
    for modes in ([2], [20], [23], ["22"]):
        with pytest.raises(UserError, match="modes as two digits"):
            check_modes(modes)
    with pytest.raises(UserError, match=r"IMRPhenomXAS has no precession.*AlignedSpins"):
        polarisations(PRECESSING, "IMRPhenomXAS", **SERIES, reference_frequency=20, distance=1)
    with pytest.raises(UserError, match=r"cannot compute the waveform of mass_1 = 36"):
        polarisations(
            PRECESSING, "IMRPhenomXPHM", **SERIES, reference_frequency=20, distance=1, modes=(55,)
        )


@pytest.mark.parametrize("approximant", WITH_PYSEOBNR)
def test_a_missing_package_is_named(approximant: str, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for use in (check_approximant, is_in_frequency, lambda name: spectra(name, 0.0)):
        with pytest.raises(UserError, match=r"pyseobnr, which is not installed: .*pip install py"):
            use(approximant)


def test_what_pyseobnr_is_asked_for_and_where_the_merger_lies(monkeypatch) -> None:
    """A stand-in for gwsignal: a pulse 1.5 s into a series that begins 1.5 s before the merger."""
    rate, seconds = SERIES["sample_rate"], SERIES["duration"]
    asked = {}

    def pulse(arguments: dict, generator: str) -> SimpleNamespace:
        asked.update(arguments, generator=generator)
        series = np.zeros(round(rate * seconds))
        series[round(1.5 * rate)] = 1.0
        step, epoch = SimpleNamespace(value=1 / seconds), SimpleNamespace(value=-1.5)
        plus, cross = (
            SimpleNamespace(value=factor * np.fft.rfft(series), df=step, epoch=epoch)
            for factor in (1, 2)
        )
        return SimpleNamespace(hp=plus, hc=cross)

    modules = {
        "": SimpleNamespace(),
        ".core": SimpleNamespace(),
        ".core.waveform": SimpleNamespace(GenerateFDWaveform=pulse),
        ".models": SimpleNamespace(gwsignal_get_waveform_generator=str),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, f"lalsimulation.gwsignal{name}", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    plus, cross = spectra("SEOBNRv5HM", 0.9, (22, 33))
    series = np.fft.irfft(plus)
    assert series.argmax() == 0
    np.testing.assert_allclose(series[1:], 0, atol=1e-6)
    np.testing.assert_allclose(cross, 2 * plus)
    assert asked["generator"] == "SEOBNRv5HM"
    assert asked["ModeArray"] == [(2, 2), (3, 3)]
    assert [asked[f"spin1{axis}"].value for axis in "xyz"] == [0.0, 0.0, 0.6]
    assert asked["distance"].to_value("Mpc") == DISTANCE
    assert asked["f22_start"].to_value("Hz") == SERIES["min_frequency"]
    with pytest.raises(UserError, match="SEOBNRv5HM has no precession"):
        polarisations(PRECESSING, "SEOBNRv5HM", **SERIES, reference_frequency=20, distance=1)


@pytest.mark.parametrize("approximant", WITH_PYSEOBNR)
def test_they_are_those_of_bilby_by_pyseobnr(approximant: str) -> None:
    pytest.importorskip("pyseobnr")
    bilby = pytest.importorskip("bilby")
    ours = spectra(approximant, 0.9)
    binary = ALIGNED if approximant in WITHOUT_PRECESSION else PRECESSING
    theirs = bilby.gw.source.gwsignal_binary_black_hole(
        np.arange(4097) / SERIES["duration"],
        **binary,
        luminosity_distance=DISTANCE,
        phase=0.9,
        waveform_approximant=approximant,
        reference_frequency=REFERENCE,
        minimum_frequency=SERIES["min_frequency"],
    )
    seen = np.arange(4097) / SERIES["duration"] >= SERIES["min_frequency"]
    for mine, name in zip(ours, ("plus", "cross"), strict=True):
        largest = np.abs(theirs[name]).max()
        assert np.abs(mine[: len(seen)][seen] - theirs[name][seen]).max() < 1e-8 * largest
    assert not is_in_frequency(approximant)
