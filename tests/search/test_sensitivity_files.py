"""The tables of injections, against results made by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from search_results import make_result

from physics.distance_laws import UniformChirpVolume
from physics.population import Population
from search.injections import InjectionResult, InjectionSettings, match_injections
from search.sensitivity_files import store_injections, write_injections, write_sensitivity


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


@pytest.fixture
def with_sides() -> InjectionResult:
    """Three injections, of which two have a trigger, with a chirp mass and a time predicted."""
    names, values = ("chirp_mass", "merger_time"), [[25.5, 1e9 + 200.125], [0.012345, np.nan]]
    found = make_result([200.1, 300.0], [9.0, 2.0], [], slides=0).triggers
    found = found.with_sides(names, np.array(values))
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
    background = make_result([100.0], [4.0], [5.0, 2.5, 1.0]).background
    settings = InjectionSettings(Population(), 100.0, 0)
    return match_injections(rows, found, background, [(1e9, 1e9 + 3600)], settings, 4.5)


def test_side_targets_stand_beside_what_was_injected(
    tmp_path: Path, with_sides: InjectionResult
) -> None:
    write_injections(tmp_path / "i.csv", with_sides)
    with open(tmp_path / "i.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[-4:] == [
        *("injected_chirp_mass", "predicted_chirp_mass"),
        *("injected_merger_time", "predicted_merger_time"),
    ]
    assert {row["injected_chirp_mass"] for row in table} == {"26.1165"}  # 30 / 2^(1/5)
    assert [row["predicted_chirp_mass"] for row in table] == ["25.5000", "0.012345", ""]
    assert [row["injected_merger_time"] for row in table][:2] == [
        "1000000200.0000",
        "1000000300.0000",
    ]
    assert [row["predicted_merger_time"] for row in table] == ["1000000200.1250", "", ""]


def test_injections_are_stored_beside_the_triggers(
    tmp_path: Path, with_sides: InjectionResult
) -> None:
    h5py = pytest.importorskip("h5py", reason="needs the extra gwosc")
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        file.create_group("triggers")
    store_injections(tmp_path / "t.hdf5", with_sides)
    with h5py.File(tmp_path / "t.hdf5", "r") as file:
        group = file["injections"]
        assert list(group.attrs["side_names"]) == ["chirp_mass", "merger_time"]
        np.testing.assert_array_equal(group["predicted"], with_sides.predicted)
        np.testing.assert_array_equal(group["injected"], with_sides.injected)
        assert group["score"][()].tolist() == [9.0, 2.0, -np.inf]
        assert group["combination"][()].tolist() == [b"H1L1", b"H1L1", b""]
        np.testing.assert_allclose(group["chirp_mass"], 30 / 2**0.2)
