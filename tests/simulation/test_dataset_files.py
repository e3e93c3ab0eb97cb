"""The table of a simulated data set: bilby, given its rows, finds the SNRs that stand in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from physics.bank_settings import BankSettings
from physics.constants import GPS_START
from physics.distance_laws import UniformChirpVolume
from physics.mass_laws import UniformComponents
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from simulation.dataset_files import ParameterTable, SampleBlock

INJECTIONS = 100
OBSERVATION = Observation(detectors=("H1", "L1"))
LAW = Population(
    masses=UniformComponents(45, 60), distance=UniformChirpVolume(130, 350), min_frequency=30.0
)
SET_3 = {"approximant": "IMRPhenomXPHM", "modes": (22, 21, 33, 32, 44)}


def table_of(population: Population, folder: Path) -> list[dict[str, str]]:
    """Return the rows of `parameters.csv` for `INJECTIONS` signals."""
    settings = BankSettings.of(population, OBSERVATION, size=20, seed=3)
    bank = WaveformBank.build(settings, folder, processes=1)
    signals = SignalGenerator(bank, population=population, observation=OBSERVATION)
    _, parameters = signals.sample(INJECTIONS, torch.Generator().manual_seed(1))
    names = [f"{number:010x}" for number in range(INJECTIONS)]
    block = SampleBlock("train", 0, names, np.ones(INJECTIONS, np.int64))
    table = ParameterTable(OBSERVATION, settings)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows(block, parameters)]


@pytest.mark.parametrize("model", [{}, SET_3])
def test_snrs_are_those_of_bilby(model: dict, tmp_path: Path) -> None:
    pytest.importorskip("lalsimulation")
    bilby = pytest.importorskip("bilby")
    from dataclasses import replace

    detectors = bilby.gw.detector.InterferometerList(list(OBSERVATION.detectors))
    for channel, detector in enumerate(detectors):
        detector.minimum_frequency, detector.maximum_frequency = 25.0, OBSERVATION.nyquist
        detector.set_strain_data_from_zero_noise(2048, 8.0, start_time=GPS_START - 4.0)
        asd = OBSERVATION.noise(channel).asd(detector.frequency_array)
        with np.errstate(divide="ignore"):
            detector.power_spectral_density = bilby.gw.detector.PowerSpectralDensity(
                frequency_array=detector.frequency_array, psd_array=asd**2
            )
    differences = []
    for row in table_of(replace(LAW, **model), tmp_path):
        values = {
            name: float(row[name])
            for name in (
                *("mass_1", "mass_2", "a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl"),
                *("theta_jn", "phase", "luminosity_distance"),
            )
        }
        settings = {"waveform_approximant": row["waveform_approximant"]}
        if row["mode_array"]:
            settings["mode_array"] = [
                [int(m) // 10, int(m) % 10] for m in row["mode_array"].split()
            ]
        for name in ("minimum_frequency", "reference_frequency"):
            settings[name] = float(row[name])
        waveform = bilby.gw.source.lal_binary_black_hole(
            detectors[0].frequency_array, **values, **settings
        )
        place = {name: float(row[name]) for name in ("ra", "dec", "psi", "geocent_time")}
        squares = []
        for detector in detectors:
            response = detector.get_detector_response(waveform, place)
            squares.append(detector.optimal_snr_squared(response).real)
            # A detector that sees little sees the sum of two terms that cancel.
            assert float(row[f"snr_{detector.name}"]) == pytest.approx(
                squares[-1] ** 0.5, rel=0.02, abs=0.01 * float(row["network_snr"])
            )
        differences.append(float(row["network_snr"]) / sum(squares) ** 0.5 - 1)
    # The window loses what comes before it and resolves the dips between the lines less well than
    # 8 s do: 0.6 % at most of binaries that lie wholly in it.
    assert np.abs(differences).max() < 0.01


def test_the_competitions_table_has_the_columns_it_had() -> None:
    columns = ParameterTable(COMPETITION, BankSettings()).columns
    assert columns[-5:] == ("luminosity_distance", "snr_H1", "snr_L1", "snr_V1", "network_snr")
    other = ParameterTable(OBSERVATION, BankSettings.of(COMPETITION_POPULATION, OBSERVATION))
    assert other.columns[-1] == "minimum_frequency"
    assert "snr_V1" not in other.columns
