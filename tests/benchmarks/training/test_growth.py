"""Growth is measured point by point and drawn."""

from __future__ import annotations

from pathlib import Path

from benchmark_examples import run_quick

from benchmarks.training import growth


def test_growth_measures_points_and_draws_them(tmp_path: Path) -> None:
    entry = run_quick(growth, tmp_path, "growth")
    points = entry["points"]
    assert {point["what"] for point in points} == {"cwt", "training"}
    assert {point["varied"] for point in points} == {"scales", "stride", "batch", "workers"}
    for point in points:
        speed = point.get("seconds") or point["samples_per_second"]
        assert speed["median"] > 0
        assert point["peak_megabytes"] > 0
    (trained,) = (point for point in points if point["what"] == "training")
    assert trained["readers_megabytes"] > 0  # it has one reader
    assert len(list(tmp_path.glob("performance-*.png"))) == 2
