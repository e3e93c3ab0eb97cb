"""The challenge's files: written as its evaluate.py reads them, read back, damaged ones refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.mdc.challenge_files import (
    injections_of_rows,
    read_events,
    read_injections,
    write_events,
    write_injections,
    write_outline,
)
from runtime.errors import UserError
from search.sensitivity import Events
from simulation.continuous_strain_files import Segment

ROWS = [
    {
        "geocent_time": 1e9 + 30.5,
        "mass_1": 30.0,
        "mass_2": 20.0,
        "luminosity_distance": 1500.0,
        "network_snr": 9.5,
        "ra": 1.0,
    },
    {"geocent_time": 1e9 + 2.25, "mass_1": 12.0, "mass_2": 11.0, "luminosity_distance": 800.0},
]


def test_events_are_read_as_they_were_written(tmp_path: Path) -> None:
    events = Events(np.array([1e9 + 0.123456, 1e9 + 9.0]), np.array([30.5, -2.0]))
    write_events(tmp_path / "events.hdf", events)
    found, tolerance = read_events(tmp_path / "events.hdf")
    assert np.array_equal(found.time, events.time)
    assert np.array_equal(found.score, events.score)
    assert tolerance.tolist() == [0.3, 0.3]
    with h5py.File(tmp_path / "events.hdf") as file:  # the names that the script reads
        assert set(file) == {"time", "stat", "var"}


def test_injections_are_read_in_order_of_time(tmp_path: Path) -> None:
    write_injections(tmp_path / "injections.hdf", ROWS)
    with h5py.File(tmp_path / "injections.hdf") as file:
        # only what all rows have: no right ascension
        assert set(file) == {"tc", "mass1", "mass2", "distance"}
    rows = read_injections(tmp_path / "injections.hdf")
    assert [row["geocent_time"] for row in rows] == [1e9 + 2.25, 1e9 + 30.5]
    injections = injections_of_rows(rows)
    assert injections.mass1.tolist() == [12.0, 30.0]
    assert injections.distance.tolist() == [800.0, 1500.0]
    assert np.isnan(injections.snr).all()
    assert injections_of_rows(ROWS).snr[1] == 9.5


def test_an_outline_says_when_strain_is_and_takes_no_space(tmp_path: Path) -> None:
    segments = [Segment(0, 1_000_000_000, 3600), Segment(1, 1_000_003_664, 3600)]
    write_outline(tmp_path / "outline.hdf", segments, ("H1", "L1"), 2048)
    assert (tmp_path / "outline.hdf").stat().st_size < 20_000
    # as find_injection_times of evaluate.py reads it
    with h5py.File(tmp_path / "outline.hdf") as file:
        detector = next(iter(file.keys()))
        spans = []
        for key in file[detector]:
            data = file[f"{detector}/{key}"]
            start = data.attrs["start_time"]
            spans.append((start, start + len(data) * data.attrs["delta_t"]))
    assert spans == [(segment.start, segment.end) for segment in segments]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "has no row of numbers 'time'"),
        ({"time": [1.0], "stat": [2.0]}, "has no row of numbers 'var'"),
        ({"time": [1.0, 2.0], "stat": [2.0], "var": [0.3]}, "columns have the lengths"),
        ({"time": [[1.0]], "stat": [2.0], "var": [0.3]}, "has no row of numbers 'time'"),
        ({"time": [b"x"], "stat": [2.0], "var": [0.3]}, "has no row of numbers 'time'"),
        ({"time": [1.0], "stat": [np.nan], "var": [0.3]}, "'stat' holds numbers that are not"),
    ],
)
def test_files_without_events_are_refused(tmp_path: Path, content: dict, words: str) -> None:
    with h5py.File(tmp_path / "events.hdf", "w") as file:
        for name, values in content.items():
            file[name] = values
    with pytest.raises(UserError, match=words):
        read_events(tmp_path / "events.hdf")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist: name a file with events"):
        read_events(tmp_path / "none.hdf")
    (tmp_path / "text.hdf").write_text("time,stat,var")
    with pytest.raises(UserError, match="cannot be read as HDF5"):
        read_events(tmp_path / "text.hdf")
