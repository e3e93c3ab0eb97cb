"""Every part is measured at every size, and only checking and caching are extrapolated."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_examples import CPU, run_quick

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.training import full_size
from runtime.command_line import run_command


class TwoParts:
    """The command for two parts, as `run_quick` calls a benchmark."""

    @staticmethod
    def main(argv: list[str]) -> int:
        return full_size.main(["index", "check", *argv])


def test_parts_in_small(tmp_path: Path) -> None:
    # The others are starts of some seconds each: the slow test below.
    entry = run_quick(TwoParts, tmp_path, "full_size")
    points = entry["points"]
    assert [(point["part"], point["samples"]) for point in points] == [
        ("index", 40),
        ("index", 80),
        ("check", 40),
        ("check", 80),
    ]
    assert all(point["seconds"] > 0 for point in points)
    table = entry["details"]["From ten thousand samples to the competition's"]
    assert sum("extrapolated" in line for line in table) == 1  # of the check


def test_a_misspelt_part_is_one_sentence(capsys) -> None:
    with pytest.raises(SystemExit) as error:
        run_command(lambda: full_size.main(["indx"]))
    assert error.value.code == 2
    assert "there is no part 'indx' (did you mean 'index'?)" in capsys.readouterr().err


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
