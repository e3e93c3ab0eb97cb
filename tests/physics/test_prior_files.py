"""bilby's priors as laws: what files may hold, what is drawn, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest

from physics.population import PARAMETERS, Population
from physics.prior_files import build_prior, is_isotropic, read_prior_file
from runtime.errors import UserError

pytest.importorskip("bilby")
FILE = """
# a comment
chirp_mass = Uniform(minimum=20, maximum=40)
mass_ratio = bilby.core.prior.Uniform(minimum=0.25, maximum=1.0)
mass_2 = Constraint(minimum=12, maximum=100)
chi_1 = 0.3
chi_2 = Uniform(minimum=-0.5, maximum=0.5)
theta_jn = Sine()
luminosity_distance = bilby.gw.prior.UniformSourceFrame(minimum=100, maximum=2000, cosmology='Planck15')
ra = Uniform(minimum=0, maximum=2 * np.pi, boundary='periodic')
dec = Cosine(minimum=-0.5, maximum=1.0)
psi = Uniform(minimum=0, maximum=np.pi)
"""  # noqa: E501 - as in a file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine.prior"
    path.write_text(FILE)
    return path


def test_a_file_is_read_once_and_written_out_in_full(path: Path) -> None:
    population = Population(prior=str(path), approximant="IMRPhenomD")
    path.unlink()
    plain = population.to_plain()
    assert plain["prior"]["chirp_mass"] == "Uniform(minimum=20, maximum=40)"
    assert len(plain["prior"]) == 10
    again = Population.from_plain(plain)
    assert again == population
    one, other = (p.draw(50, np.random.default_rng(2)) for p in (population, again))
    for name, values in one.items():
        assert np.array_equal(values, other[name]), name


def test_draws_follow_the_priors(path: Path) -> None:
    population = Population(prior=str(path), approximant="IMRPhenomD")
    drawn = population.draw(3000, np.random.default_rng(1))
    # Isotropic directions are drawn anew with each use; the others go with the binary.
    assert tuple(drawn) == (*PARAMETERS, "luminosity_distance", "dec")
    assert population.has_distance
    assert population.binds_distance
    assert population.sky == "isotropic"
    mass = (drawn["mass_1"] * drawn["mass_2"]) ** 0.6 / (drawn["mass_1"] + drawn["mass_2"]) ** 0.2
    assert drawn["mass_2"].min() >= 12
    assert (drawn["mass_1"] >= drawn["mass_2"]).all()
    assert np.allclose(drawn["a_1"], 0.3)
    assert set(drawn["tilt_2"]) == {0.0, math.pi}
    laws = {
        "chi_2": (drawn["a_2"] * np.cos(drawn["tilt_2"]) + 0.5, "uniform"),
        "theta_jn": ((1 - np.cos(drawn["theta_jn"])) / 2, "uniform"),
        "dec": (
            (np.sin(drawn["dec"]) - math.sin(-0.5)) / (math.sin(1) - math.sin(-0.5)),
            "uniform",
        ),
        "distance": (
            drawn["luminosity_distance"],
            build_prior(
                "luminosity_distance",
                "UniformSourceFrame(minimum=100, maximum=2000, cosmology='Planck15')",
            ).cdf,
        ),
    }
    for name, (values, law) in laws.items():
        assert kstest(values, law).pvalue > 1e-3, name
    # The constraint takes nothing from heavy binaries, where the prior itself remains.
    heavy = mass[mass > 32]
    assert kstest((heavy - 32) / 8, "uniform").pvalue > 1e-3


def test_what_a_file_leaves_out_is_drawn_by_the_laws() -> None:
    population = Population(prior={"mass_1": "Uniform(30, 40)", "mass_2": "Uniform(10, 20)"})
    drawn = population.draw(2000, np.random.default_rng(1))
    assert kstest(drawn["a_1"] / 0.99, "uniform").pvalue > 1e-3
    assert 30 <= drawn["mass_1"].min() <= drawn["mass_1"].max() <= 40
    assert not population.has_distance
    assert population.sky == "amplitude"


def test_isotropic_directions_are_recognised() -> None:
    assert is_isotropic("ra", "Uniform(0, 2 * np.pi)")
    assert is_isotropic("dec", "Cosine()")
    assert is_isotropic("psi", "Uniform(minimum=0, maximum=3.14159)")
    assert not is_isotropic("psi", "Uniform(0, 1)")
    assert not is_isotropic("dec", "Uniform(-1.5, 1.5)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mas_1 = Uniform(5, 50)", r"no parameter 'mas_1' .did you mean 'mass_1'"),
        ("geocent_time = Uniform(0, 1)", r"the arrival time is that of `population.merger`"),
        ("mass_1 = Unifrom(5, 50)", "no prior of one parameter named 'Unifrom'"),
        ("mass_1 = Uniform(5)", "is no prior of bilby"),
        ("mass_1 = __import__('os').system('true')", "is no prior of bilby"),
        ("mass_1 = Uniform(5, open('x'))", "is no prior of bilby"),
        ("mass_1 Uniform(5, 50)", "line 1: .*expected one line for each parameter"),
        ("# nothing", "holds no prior"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.prior"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        Population(prior=str(path))


def test_more_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_prior_file(str(tmp_path / "absent.prior"))
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="mass_2 do not follow from the priors"):
        Population(prior={"mass_1": "Uniform(5, 50)"}).draw(3, rng)
    impossible = {
        "mass_1": "Uniform(5, 50)",
        "mass_2": "Uniform(5, 50)",
        "total_mass": "Constraint(minimum=200, maximum=300)",
    }
    with pytest.raises(UserError, match="draws obey the constraints"):
        Population(prior=impossible).draw(3, rng)
