"""What decides a bank: where its waveforms begin, the laws of its binaries, and its key."""

from __future__ import annotations

import math

import numpy as np
import pytest

from physics.bank_settings import BankSettings, draw_parameters, start_frequency
from physics.inspiral import inspiral_frequency
from physics.mass_laws import LogUniformTotalMass, UniformComponents
from physics.observation import Observation
from physics.population import PARAMETERS, Population
from physics.spin_laws import IsotropicSpins
from runtime.errors import UserError

SETTINGS = BankSettings(size=48, seed=5)


def test_waveforms_begin_at_20_hz_or_5_s_before_the_merger() -> None:
    assert start_frequency(40, 40, SETTINGS) == 20.0
    assert SETTINGS.longest == 5.0
    assert start_frequency(1.4, 1.4, SETTINGS) == inspiral_frequency(5.0, 1.4, 1.4) > 20.0


def test_binaries_follow_the_recipe() -> None:
    from scipy.stats import kstest, loguniform

    parameters = dict(zip(PARAMETERS, draw_parameters(BankSettings(size=5000)).T, strict=True))
    total = parameters["mass_1"] + parameters["mass_2"]
    laws = {
        "total mass": (total, loguniform(30, 80).cdf),
        "mass ratio": ((parameters["mass_2"] / parameters["mass_1"] - 0.3) / 0.7, "uniform"),
        "a_1": (parameters["a_1"] / 0.99, "uniform"),
        "a_2": (parameters["a_2"] / 0.99, "uniform"),
        "tilt_1": ((np.cos(parameters["tilt_1"]) + 1) / 2, "uniform"),
        "tilt_2": ((np.cos(parameters["tilt_2"]) + 1) / 2, "uniform"),
        "phi_12": (parameters["phi_12"] / math.tau, "uniform"),
        "phi_jl": (parameters["phi_jl"] / math.tau, "uniform"),
        "theta_jn": ((np.cos(parameters["theta_jn"]) + 1) / 2, "uniform"),
    }
    for name, (values, law) in laws.items():
        # Seeded: a p-value below 1e-3 is a wrong law and not bad luck.
        assert kstest(values, law).pvalue > 1e-3, name


def test_keys_of_the_competitions_banks_stay() -> None:
    """Banks that were computed before are found again."""
    assert BankSettings().key() == "63cf568ee4bd5b27"
    assert BankSettings(size=8000, seed=1).key() == "ac3c2fe7c92d714d"
    assert BankSettings(size=48, seed=6).key() != SETTINGS.key()
    with pytest.raises(UserError, match="at least one"):
        BankSettings(size=0)


def with_numbers(number: type) -> Population:
    """Return a population whose whole numbers are written as ints or as floats."""
    return Population(
        masses=UniformComponents(number(20), number(50)),
        spins=IsotropicSpins(number(0)),
        modes=(22, 33),
        approximant="IMRPhenomXPHM",
        min_frequency=number(25),
        reference_frequency=number(30),
        longest=number(3),
    )


def test_a_law_has_one_key_however_its_numbers_are_written() -> None:
    observation = Observation(window=4.0)
    whole, decimal = (
        BankSettings.of(with_numbers(number), observation, 100, 7) for number in (int, float)
    )
    assert whole == decimal
    assert whole.key() == decimal.key()
    assert BankSettings.from_plain(whole.to_plain()).key() == whole.key()
    as_floats = Population(masses=LogUniformTotalMass((30, 80)), min_frequency=20)
    assert BankSettings(population=as_floats).key() == BankSettings().key()
    other = Population(masses=UniformComponents(20, 51))
    assert (
        BankSettings(population=other).key()
        != BankSettings(population=Population(masses=UniformComponents(20, 50))).key()
    )
