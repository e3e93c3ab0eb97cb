"""Data-quality bits: which are asked for, and when they exclude strain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.quality_bits import (
    INJECTION_BITS,
    QualityMask,
    bits_of_channel,
    bits_of_unit,
    parse_bits,
    times_excluded_by_bits,
)
from runtime.errors import UserError

PATH = Path("h.hdf5")


@pytest.mark.parametrize(
    ("words", "bits"),
    [
        ([], None),
        (["none"], ()),
        (["DATA", "cbc_cat1"], ("DATA", "CBC_CAT1")),
        (["DATA,CBC_CAT1", "DATA"], ("DATA", "CBC_CAT1")),
    ],
)
def test_the_bits_of_the_command_line(words, bits) -> None:
    assert parse_bits(words) == bits


def test_no_bit_and_a_bit_contradict_each_other() -> None:
    with pytest.raises(UserError, match="--data_quality none DATA: 'none' asks for no bit"):
        parse_bits(["none", "DATA"])


@pytest.mark.parametrize("kind", [np.uint32, np.int32, np.uint8, np.int64, np.uint64])
def test_times_without_a_bit(kind) -> None:
    mask = QualityMask(("DATA", "CBC_CAT1"), np.array([1, 3, 0, 0, 3, 2], kind), 100.0, 0.5)
    assert mask.times_without("DATA") == [(101.0, 102.0), (102.5, 103.0)]
    assert mask.times_without("CBC_CAT1") == [(100.0, 100.5), (101.0, 102.0)]


def test_the_last_bit_of_a_signed_mask() -> None:
    names = tuple(f"BIT{number}" for number in range(32))
    mask = QualityMask(names, np.array([-1, 0], np.int32), 0.0, 1.0)
    assert mask.times_without("BIT31") == [(1.0, 2.0)]


def masks() -> list[QualityMask]:
    """Return two masks of data quality and one of injections: continuous waves are on."""
    first = QualityMask(("DATA", "CBC_CAT1"), np.array([3, 1, 3]), 0.0, 1.0)
    second = QualityMask(("DATA", "CBC_CAT1"), np.array([3, 3, 0]), 3.0, 1.0)
    injections = QualityMask(INJECTION_BITS, np.array([0b10111] * 5 + [0b10110]), 0.0, 1.0)
    return [first, second, injections]


def test_the_usual_bits_are_those_that_a_file_has() -> None:
    assert times_excluded_by_bits(masks(), None, PATH) == {
        "DATA": [(5.0, 6.0)],
        "CBC_CAT1": [(1.0, 2.0), (5.0, 6.0)],
        "NO_CBC_HW_INJ": [(5.0, 6.0)],
    }
    assert times_excluded_by_bits([], None, PATH) == {}
    assert times_excluded_by_bits(masks(), (), PATH) == {}


def test_bits_that_are_asked_for() -> None:
    found = times_excluded_by_bits(masks(), ("NO_CW_HW_INJ",), PATH)
    assert found == {"NO_CW_HW_INJ": [(0.0, 6.0)]}
    with pytest.raises(
        UserError, match=r"h\.hdf5 has no .*'CBC_CAT2' \(did you mean 'CBC_CAT1'\?\)"
    ):
        times_excluded_by_bits(masks(), ("CBC_CAT2",), PATH)
    with pytest.raises(UserError, match="it holds no bits at all: leave it out"):
        times_excluded_by_bits([], ("DATA",), PATH)


def test_names_of_bits() -> None:
    assert bits_of_unit("0:data 2:CBC_CAT2") == ("DATA", "", "CBC_CAT2")
    assert bits_of_unit("strain") is None
    assert bits_of_unit("") is None
    assert bits_of_channel("H1:GWOSC-16KHZ_R1_INJMASK") == INJECTION_BITS
    assert bits_of_channel("H1:LOSC-DQMASK")[:2] == ("DATA", "CBC_CAT1")
    for name in ("H1:GDS-CALIB_STATE_VECTOR", "H1:DCS-CALIB_STATE_VECTOR_C01"):
        assert bits_of_channel(name)[1] == "OBSERVATION_INTENT"
    assert bits_of_channel("V1:DQ_ANALYSIS_STATE_VECTOR")[0] == "HOFT_OK"
    for name in ("H1:GDS-CALIB_STRAIN", "H1:ISC-OTHER_STATE_VECTOR"):
        assert bits_of_channel(name) is None
