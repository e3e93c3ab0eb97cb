"""The profile of a training step adds up."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_examples import run_quick

from benchmarks.training import profile_step


def test_profile_names_the_three_largest_costs(tmp_path: Path) -> None:
    entry = run_quick(profile_step, tmp_path, "profile_step")
    assert len(entry["largest_costs"]) == 3
    phases = entry["phases"]
    assert set(profile_step.PHASES) < set(phases)
    assert all(seconds >= 0 for seconds in phases.values())
    named = sum(seconds for phase, seconds in phases.items() if phase != "whole step")
    assert named == pytest.approx(phases["whole step"], rel=0.5)  # medians do not quite add up
    (detail,) = entry["details"].values()
    assert detail[0].startswith("The 3 largest costs are")
    assert sum(each["share"] for each in entry["operations"]) <= 1 + 1e-6
