"""What is observed: sampling, equality, digests by content, detectors that are alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from physics.observation import COMPETITION, Observation, Sampling
from runtime.errors import UserError


def test_sampling_is_what_files_share() -> None:
    sampling = COMPETITION.sampling
    assert sampling.shape == COMPETITION.shape == (3, 4096)
    assert str(sampling) == str(COMPETITION) == "H1 L1 V1 at 2048 Hz, 2 s"
    assert Sampling.from_plain(json.loads(json.dumps(sampling.to_plain()))) == sampling
    assert Observation(min_frequency=20.0, curves="AdV").sampling == sampling
    assert Observation(("H1", "V1"), 4096, 1.0).sampling != Observation(("H1", "L1")).sampling


def test_the_digest_is_of_the_numbers_of_the_curves(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    for path in (first, second):
        path.write_text("10 1e-23\n1024 2e-23\n")
    one, two = (Observation(("H1",), curves=str(path)) for path in (first, second))
    assert one.digest == two.digest
    second.write_text("10 1e-23\n1024 3e-23\n")
    assert one.digest != two.digest
    assert COMPETITION.digest == "95b93bc2e4f44442"  # records of runs hold it


def test_detectors_with_one_curve_are_alike() -> None:
    assert COMPETITION.alike_pairs() == [(0, 1)]
    assert Observation(("V1",)).alike_pairs() == []
    assert Observation(("V1", "L1", "K1", "H1")).alike_pairs() == [(1, 3)]
    assert Observation(("H1", "V1"), curves="AdV").alike_pairs() == [(0, 1)]
    triangle = Observation(("ET1", "ET2", "ET3"))
    assert triangle.alike_pairs() == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detectors": ("H1", "L2")}, "L2"),
        ({"detectors": ("H1", "H1")}, "different names"),
        ({"detectors": ()}, "different names"),
        ({"window": 2.00048828125}, "4097 samples: expected an even number"),
        ({"window": 1e-3}, "an even number, 16 or more"),
        ({"sample_rate": 2048.5}, "whole number"),
        ({"min_frequency": 1024.0}, "less than half the sampling rate"),
        ({"curves": ("AdV", "AdV")}, "2 curves for 3 detectors"),
    ],
)
def test_what_cannot_be_observed_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Observation(**arguments)
