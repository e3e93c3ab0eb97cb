"""A population: what its laws draw together, its place in a config, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kstest

from configuration.class_with_arguments import Part
from physics.bank_settings import BankSettings, draw_parameters
from physics.distance_laws import RedshiftedVolume, UniformChirpVolume, UniformVolume, redshift_at
from physics.mass_laws import NeutronStars, UniformComponents
from physics.observation import COMPETITION, Observation
from physics.population import PARAMETERS, Population, chirp_mass
from physics.signals import SignalGenerator
from physics.spin_laws import AlignedSpins, NoSpins
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError

MDC_1 = Population(
    masses=UniformComponents(10, 50),
    spins=NoSpins(),
    distance=UniformChirpVolume(130, 350),
    approximant="IMRPhenomD",
)


def flat_signals(population: Population, observation: Observation) -> SignalGenerator:
    """Return signals of a bank that needs no LALSuite: a click at each merger."""
    settings = BankSettings.of(population, observation, size=2000, seed=2)
    waveforms = np.zeros((2000, 2, settings.series.stretch), np.float32)
    waveforms[:, :, settings.series.before] = 1.0
    bank = WaveformBank(waveforms, draw_parameters(settings), settings)
    return SignalGenerator(bank, population=population, observation=observation)


def test_placements_follow_a_law_of_distance() -> None:
    observation = Observation(detectors=("H1", "L1"), window=4.0)
    signals = flat_signals(MDC_1, observation)
    strain, drawn = signals.sample(1500)
    values = {name: column.double().numpy() for name, column in drawn.items()}
    assert strain.shape == (1500, 2, 8192)
    assert (values["a_1"] == 0).all()
    mass = chirp_mass(values["mass_1"], values["mass_2"])
    distance = values["luminosity_distance"] * (chirp_mass(1.4, 1.4) / mass) ** (5 / 6)
    laws = {
        "chirp distance": (distance**3 - 130**3) / (350**3 - 130**3),
        "ra": values["ra"] / math.tau,
        "dec": (np.sin(values["dec"]) + 1) / 2,
        "psi": values["psi"] / math.pi,
        "phase": values["phase"] / math.tau,
        "merger": (values["merger_time"] - 3.0) / 0.6,
    }
    for name, uniform in laws.items():
        assert kstest(uniform, "uniform").pvalue > 1e-3, name
    snr = signals.optimal_snr(strain / 1e-21).norm(dim=1)
    np.testing.assert_allclose(values["network_snr"], snr.numpy(), rtol=1e-4)
    assert {"snr_H1", "snr_L1"} <= values.keys()
    assert "snr_V1" not in values


def test_source_frame_masses_are_redshifted() -> None:
    pytest.importorskip("astropy")
    for law in (UniformVolume(500, 5000), RedshiftedVolume((0.1, 1.0))):
        there = Population(masses=UniformComponents(30, 31), distance=law, frame="source")
        drawn = there.draw(500, np.random.default_rng(0))
        redshift = redshift_at(drawn["luminosity_distance"], "Planck18")
        for name in ("mass_1", "mass_2"):
            source = drawn[name] / (1 + redshift)
            assert 29.99 < source.min() < source.max() < 31.01
        assert there.columns == (*PARAMETERS, "luminosity_distance")


def test_phase_goes_with_the_binary_where_it_is_no_factor() -> None:
    population = Population(approximant="IMRPhenomXPHM")
    assert population.columns == (*PARAMETERS, "phase")
    signals = flat_signals(population, COMPETITION)
    _, drawn = signals.sample(50)
    phase = signals.binaries[drawn["waveform"], -1]
    assert (drawn["phase"] == phase).all()
    one_mode = Population(approximant="IMRPhenomXPHM", modes=(22,))
    assert one_mode.columns == PARAMETERS


def test_populations_of_the_same_binaries_share_a_bank() -> None:
    keys = {
        BankSettings.of(population, COMPETITION).key()
        for population in (
            Population(),
            Population(snr=(8, 20), sky="isotropic"),
            Population(distance=UniformVolume(100, 4000)),
        )
    }
    assert keys == {"63cf568ee4bd5b27"}  # that of the competition's banks since the first of them
    others = [MDC_1, Population(longest=1.0), Population(approximant="IMRPhenomXPHM")]
    settings = [BankSettings.of(population, COMPETITION) for population in others]
    settings.append(BankSettings.of(Population(), Observation(window=4.0)))
    assert len({each.key() for each in settings} | keys) == 5
    for each in settings:
        assert BankSettings.from_plain(each.to_plain()) == each


def test_a_population_in_a_config() -> None:
    from configs import Demo
    from configuration.overrides import override
    from experiments.building import population_of

    words = ["population.masses=UniformComponents", "population.masses.low=12"]
    words += ["population.distance=UniformVolume", "population.spins=NoSpins"]
    config = override(Demo, words)
    population = population_of(config)
    assert population.masses == UniformComponents(low=12)
    assert population.distance == UniformVolume()
    plain = config.to_plain()["population"]
    assert plain["masses"] == {"class": "UniformComponents", "low": 12, "high": 50.0}
    assert Population.from_plain(plain) == population
    assert Part(Population).build() == Population()


def test_a_window_that_does_not_hold_the_inspirals_is_refused(caplog) -> None:
    stars = {"masses": NeutronStars(), "spins": NoSpins()}
    with pytest.raises(UserError, match=r"loses 69% of its SNR\^2: .* population.longest = 1.83"):
        BankSettings.of(Population(**stars), COMPETITION)
    with caplog.at_level("WARNING", logger="g2net"):
        settings = BankSettings.of(Population(**stars, longest=1.5), COMPETITION)
    assert (settings.longest, settings.duration) == (1.5, 4.0)
    heavier = Population(masses=UniformComponents(10, 50))
    BankSettings.of(heavier, COMPETITION)  # 9 %
    BankSettings.of(Population(**stars, min_frequency=150.0), COMPETITION)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"masses": 30}, "population.masses = 30: expected a MassLaw"),
        ({"masses": AlignedSpins()}, "expected a MassLaw"),
        ({"frame": "source"}, "a redshift needs a distance"),
        ({"frame": "sauce"}, "did you mean 'source'"),
        ({"sky": "flat"}, "sky = 'flat'"),
        ({"snr": (9, 4)}, "expected two rising positive numbers"),
        ({"approximant": "IMRPhenomD"}, "has no precession"),
        ({"modes": (2,)}, "modes as two digits"),
        ({"min_frequency": 0}, "min_frequency = 0: expected more than 0"),
    ],
)
def test_refusals(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Population(**arguments)


def test_what_does_not_fit_an_observation_is_refused() -> None:
    with pytest.raises(UserError, match="expected two rising times within the window of 2 s"):
        Population(merger=(1.5, 2.5)).merger_range(2.0)
    with pytest.raises(UserError, match="expected one number for each of H1, L1"):
        Population(weights=(1, 1, 1)).detector_weights(("H1", "L1"))
    signals = flat_signals(MDC_1, Observation(detectors=("H1",), window=4.0))
    settings = BankSettings.of(MDC_1, Observation(detectors=("H1",), window=4.0), 4)
    bank = WaveformBank(np.zeros((4, 2, 1), np.float32), draw_parameters(settings), settings)
    with pytest.raises(UserError, match="drawn from another population"):
        SignalGenerator(bank, population=Population())
    with pytest.raises(UserError, match="sampled at 2048 Hz and the observation at 4096 Hz"):
        SignalGenerator(bank, observation=Observation(sample_rate=4096, window=4.0))
    assert signals.weights.tolist() == [1.0]


def test_the_middle_of_the_arrival_times() -> None:
    assert Population().middle_arrival(COMPETITION.window) == 1.65
    assert Population(merger=(1.0, 2.0)).middle_arrival(4.0) == 1.5
