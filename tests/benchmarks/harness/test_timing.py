"""Two sides are timed in turn, and only if they compute the same."""

from __future__ import annotations

import math

import pytest
import torch
from benchmark_examples import CPU

from benchmarks.harness.timing import Spread, check_agreement, interleave, paired_ratios
from runtime.errors import UserError


def test_sides_that_differ_are_not_compared() -> None:
    x = torch.randn(4, 4)
    assert check_agreement("it", x, x, 0) == 0
    with pytest.raises(UserError, match=r"differ by .* so their times are not compared"):
        check_agreement("it", x, x + 0.1, 1e-3)
    with pytest.raises(UserError, match="shapes"):
        check_agreement("it", x, x[:2], 1e-3)
    with pytest.raises(UserError, match="differ by nan"):
        check_agreement("it", x * math.nan, x, 1e-3)


def test_sides_are_timed_in_turn_and_warm_up_is_left_out() -> None:
    calls: list[str] = []
    sides = {name: lambda name=name: calls.append(name) for name in "AB"}
    times = interleave(sides, CPU, rounds=3, least_seconds=0, warm_up=2)
    assert "".join(calls) == "AABB" + "ABABAB"
    assert [len(each) for each in times.values()] == [3, 3]


def test_short_calls_are_repeated_within_a_timing() -> None:
    calls = []
    interleave({"A": lambda: calls.append(0)}, CPU, rounds=1, least_seconds=1e-3)
    assert len(calls) > 10


def test_ratios_are_of_rounds_and_spreads_are_quartiles() -> None:
    assert Spread.of([4, 1, 3, 2, 5]) == Spread(3, 2, 4, 5)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert paired_ratios([2, 40, 6], [1, 10, 3]) == Spread(2, 2, 3, 3)
