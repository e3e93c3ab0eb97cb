"""What a comparison times, and why a package is left out."""

from __future__ import annotations

import sys

import pytest
from benchmark_examples import CPU

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.rivals.comparison import Comparison, in_words, measure_comparison, why_not_usable

SETTINGS = BenchmarkSettings(CPU, quick=True)


def test_the_figure_is_theirs_over_ours_for_one_sample() -> None:
    calls = {"ours": 0, "theirs": 0}

    def side(name: str, turns: int):
        def call() -> None:
            calls[name] += 1
            sum(range(turns))

        return call

    row = measure_comparison(
        SETTINGS,
        Comparison(
            "some.row",
            "ours",
            "theirs",
            side("ours", 10),
            side("theirs", 300_000),
            (4, 2),
            "differ by 1e-06",
            1e-6,
            {"batch": 4},
        ),
    )
    assert calls == {"ours": 4, "theirs": 4}  # two to warm up, two rounds
    assert row.figure.median > 10  # 30,000 times the work for half the samples
    assert row.verdict("cpu") == "reached"
    assert row.settings["results"] == "differ by 1e-06"
    assert row.extra["largest_difference"] == 1e-6


def test_what_is_missing_or_broken_is_said(tmp_path, monkeypatch) -> None:
    (tmp_path / "of_another_torch.py").write_text("raise OSError('undefined symbol: x\\nmore')")
    (tmp_path / "lacks_another.py").write_text("import no_such_package_of_it")
    monkeypatch.syspath_prepend(tmp_path)
    assert why_not_usable(("sys", "json")) is None
    assert why_not_usable(("no_such_package",)) == "the package no_such_package is not installed"
    assert why_not_usable(("json", "of_another_torch")) == (
        "of_another_torch cannot be loaded: undefined symbol: x"
    )
    assert "no_such_package_of_it" in why_not_usable(("lacks_another",))
    assert "of_another_torch" not in sys.modules


def test_a_bug_of_a_package_is_not_hidden(tmp_path, monkeypatch) -> None:
    (tmp_path / "wrong_package.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        why_not_usable(("wrong_package",))


def test_a_difference_in_words() -> None:
    assert in_words(0.0) == "equal"
    assert in_words(2.4e-6) == "differ by 2e-06 of the peak"
    assert in_words(1e-12, of="") == "differ by 1e-12"
