"""Every part is measured at every size, and only checking and caching are extrapolated."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_examples import CPU, run_quick

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.training import full_size


def test_parts_in_small(tmp_path: Path, monkeypatch) -> None:
    # The others are starts of some seconds each: the slow test below.
    chosen = {
        what: part
        for what, part in full_size.PARTS.items()
        if part[0] in (full_size.index, full_size.cache)
    }
    monkeypatch.setattr(full_size, "PARTS", chosen)
    entry = run_quick(full_size, tmp_path, "full_size")
    points = entry["points"]
    assert [point["samples"] for point in points] == [40, 80] * 2
    assert all(point["seconds"] > 0 for point in points)
    table = entry["details"]["From ten thousand samples to the competition's"]
    assert sum("extrapolated" in line for line in table) == 1  # of the cache


@pytest.mark.slow  # starts of train.py and stacking.py, whose own tests run them in small
def test_the_other_parts_run(tmp_path: Path) -> None:
    settings = BenchmarkSettings(CPU, quick=True)
    for part in (full_size.free_epoch, full_size.stack):
        cost = full_size.in_folder(tmp_path, lambda work, part=part: part(settings, 400, work))
        assert cost.seconds > 0
        assert cost.megabytes is None or cost.megabytes > 50
    assert list(tmp_path.iterdir()) == []


def test_extrapolation_is_a_straight_line() -> None:
    known = [
        {"samples": 1000, "seconds": 9.0},  # an odd one, of which nothing is made
        {"samples": 2000, "seconds": 3.0},
        {"samples": 4000, "seconds": 5.0},
    ]
    assert full_size.extrapolate(known, 10_000) == pytest.approx(11.0)
