"""Data-quality and injection bits: one integer for each second or less, each bit a statement.

A bit that is set says that its statement holds: strain is there (DATA), it passes a test
(CBC_CAT1), nothing was injected (NO_CBC_HW_INJ). Sources: gwosc.org/archive/dataset/O1 for GWOSC's
masks, whose files name their bits themselves; for the state vectors of LIGO's and Virgo's own
frames, which do not, `pycbc.frame` (constants HOFT_OK to NO_DETCHAR_HW_INJ).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.time_segments import TimeSegments, merge_segments
from runtime.errors import UserError, nearest

# Required of strain where nothing else is asked for, as far as a file has them. Not the injections
# of continuous waves and of a stochastic background: they ran through most of O1 and are so weak
# that a search for mergers does not see them.
DEFAULT_BITS = (
    "DATA",
    "CBC_CAT1",
    "CBC_CAT2",
    "NO_CBC_HW_INJ",
    "NO_BURST_HW_INJ",
    "NO_DETCHAR_HW_INJ",
    "HOFT_OK",
    "OBSERVATION_INTENT",
)
NO_BITS = "none"  # the word that asks for no bit at all

SIMPLE_BITS = ("DATA", "CBC_CAT1", "CBC_CAT2", "CBC_CAT3", "BURST_CAT1", "BURST_CAT2", "BURST_CAT3")
INJECTION_BITS = (
    "NO_CBC_HW_INJ",
    "NO_BURST_HW_INJ",
    "NO_DETCHAR_HW_INJ",
    "NO_CW_HW_INJ",
    "NO_STOCH_HW_INJ",
)
STATE_BITS = (
    "HOFT_OK",
    "OBSERVATION_INTENT",
    "OBSERVATION_READY",
    "HOFT_PROD",
    "FILTERS_OK",
    "NO_STOCH_HW_INJ",
    "NO_CBC_HW_INJ",
    "NO_BURST_HW_INJ",
    "NO_DETCHAR_HW_INJ",
)
# By how the names of frame channels end.
STANDARD_BITS: Mapping[str, tuple[str, ...]] = {
    "DQMASK": SIMPLE_BITS,
    "INJMASK": INJECTION_BITS,
    "CALIB_STATE_VECTOR": STATE_BITS,  # H1:GDS-CALIB_STATE_VECTOR, H1:DCS-CALIB_STATE_VECTOR_C01
    "ANALYSIS_STATE_VECTOR": STATE_BITS[:2],  # V1:DQ_ANALYSIS_STATE_VECTOR
}


@dataclass(frozen=True)
class QualityMask:
    """A row of bit masks.

    Attributes:
        names: of bits 0, 1, ...
        values: (samples,) of an integer type.
        start: GPS time of the first, s.
        spacing: s from one to the next; each holds until the next.
    """

    names: Sequence[str]
    values: np.ndarray
    start: float
    spacing: float

    def times_without(self, name: str) -> TimeSegments:
        """Return when a bit is not set."""
        # A mask may be of a signed type; the bits are the same.
        missing = (self.values.astype(np.int64) >> list(self.names).index(name)) & 1 == 0
        edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.view(np.int8), [0]])))
        times = self.start + edges * self.spacing
        return [(float(a), float(b)) for a, b in zip(times[::2], times[1::2], strict=True)]


def parse_bits(words: Sequence[str], option: str = "--data_quality") -> tuple[str, ...] | None:
    """Return the bits that an option asks for.

    Args:
        words: names of bits, also several with commas between them, or 'none' alone.
        option: what to call it in messages.

    Returns:
        The names; () for 'none'; None, which stands for `DEFAULT_BITS`, where there are no words.

    Raises:
        UserError: 'none' is given together with names.
    """
    names = [name.strip().upper() for word in words for name in word.split(",") if name.strip()]
    if not names:
        return None
    if NO_BITS.upper() in names:
        if len(names) > 1:
            raise UserError(
                f"{option} {' '.join(words)}: {NO_BITS!r} asks for no bit: give it alone, or "
                f"leave it out"
            )
        return ()
    return tuple(dict.fromkeys(names))


def times_excluded_by_bits(
    masks: Sequence[QualityMask], wanted: Sequence[str] | None, path: Path
) -> dict[str, TimeSegments]:
    """Return by bit when the strain of a file is not to be used.

    Args:
        masks: of the file.
        wanted: names of bits that must be set; None takes those of `DEFAULT_BITS` that the file
            has.
        path: the file, for messages.

    Raises:
        UserError: the file has no bit of a name that is wanted.
    """
    known = list(dict.fromkeys(name for mask in masks for name in mask.names if name))
    if wanted is None:
        wanted = [name for name in DEFAULT_BITS if name in known]
    found: dict[str, TimeSegments] = {}
    for name in wanted:
        if name not in known:
            has = f"its bits are {', '.join(known)}" if known else "it holds no bits at all"
            raise UserError(
                f"{path} has no data-quality bit {name!r}{nearest(name, known)}, {has}: leave it "
                f"out (detect.py: --data_quality; RealStrain: data_quality), or give files that "
                f"have it"
            )
        found[name] = merge_segments(
            *(mask.times_without(name) for mask in masks if name in mask.names)
        )
    return {name: segments for name, segments in found.items() if segments}


def bits_of_unit(unit: str) -> tuple[str, ...] | None:
    """Return the names in the unit of a GWOSC frame channel, "0:DATA 1:CBC_CAT1", or None."""
    names: dict[int, str] = {}
    for word in unit.split():
        number, colon, name = word.partition(":")
        if not colon or not number.isdigit() or int(number) > 63:
            return None
        names[int(number)] = name.upper()
    return tuple(names.get(bit, "") for bit in range(max(names) + 1)) if names else None


def bits_of_channel(channel: str) -> tuple[str, ...] | None:
    """Return the names of the bits of a frame channel, or None where it is none of bits."""
    name = channel.upper().partition(":")[2]
    for ends, bits in STANDARD_BITS.items():
        if name.endswith(ends) or f"{ends}_C" in name:
            return bits
    return None
