"""The tables of injections, against results made by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from search_results import make_result

from physics.distance_laws import UniformChirpVolume
from physics.population import Population
from search.injections import InjectionSettings, match_injections
from search.sensitivity_files import write_injections, write_sensitivity


@pytest.mark.parametrize("has_distance", [True, False])
def test_the_tables(tmp_path: Path, has_distance: bool) -> None:
    result = make_result([100.0], [4.0], [5.0, 2.5, 1.0])
    found = make_result([200.1, 300.0], [9.0, 2.0], [], slides=0).triggers
    rows = [
        {
            "geocent_time": 1e9 + time,
            "mass_1": 30.0,
            "mass_2": 30.0,
            "luminosity_distance": 1000.0,
            "network_snr": 10.0,
        }
        for time in (200.0, 300.0, 400.0)
    ]
    population = Population(distance=UniformChirpVolume()) if has_distance else Population()
    settings = InjectionSettings(population, 100.0, 0)
    matched = match_injections(rows, found, result.background, [(1e9, 1e9 + 3600)], settings, 4.5)
    write_injections(tmp_path / "i.csv", matched)
    with open(tmp_path / "i.csv", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert (first["score"], first["combination"], first["limit"]) == ("9.0000", "H1L1", "<")
    assert (second["score"], second["limit"]) == ("2.0000", "")
    assert (third["score"], third["false_alarms_per_year"]) == ("", "")
    write_sensitivity(tmp_path / "s.csv", matched, result)
    with open(tmp_path / "s.csv", newline="") as file:
        table = list(csv.DictReader(file))
    # 1,000 and 100 a month, and the candidate's rate: one slid trigger in 20 h is louder, of two
    rates = [float(row["false_alarms_per_month"]) for row in table]
    assert rates == pytest.approx([1000, 100, 2 / 20 * 730.5], rel=1e-3)
    assert [row["efficiency"] for row in table] == ["0.6667", "0.3333", "0.3333"]
    assert (table[0]["sensitive_distance_mpc"] != "") == has_distance
