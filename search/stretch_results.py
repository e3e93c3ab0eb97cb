"""What a search finds in one stretch, and the arrays that the store keeps of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.gates import Gate
from runtime.errors import UserError
from search.conditioned_stretch import MissingStrain
from search.live_times import LiveTimes
from search.trigger_table import TriggerTable

GATE_COLUMNS = ("detector", "start", "end", "peak", "snr")
MISSING_COLUMNS = ("detector", "start", "end")


@dataclasses.dataclass(frozen=True)
class StretchResult:
    """What was found in one stretch.

    Attributes:
        table: triggers of all slides.
        live: seconds of all slides.
        gates: glitches that were taken out of the strain.
        skipped: whether there was too little clean strain.
        missing: strain that was not there, excluded or constant.
    """

    table: TriggerTable
    live: LiveTimes
    gates: list[Gate]
    skipped: bool
    missing: list[MissingStrain] = dataclasses.field(default_factory=list)


def pack_stretch_result(found: StretchResult) -> dict[str, np.ndarray]:
    """Return arrays by name, from which `unpack_stretch_result` makes the same again."""
    arrays = {f"trigger_{name}": values for name, values in found.table.arrays().items()}
    arrays |= {f"live_{name}": values for name, values in found.live.arrays().items()}
    for kind, (names, rows) in {
        "gate": (GATE_COLUMNS, found.gates),
        "missing": (MISSING_COLUMNS, found.missing),
    }.items():
        for name in names:
            values = [getattr(row, name) for row in rows]
            arrays[f"{kind}_{name}"] = np.array(values, "U8" if name == "detector" else "f8")
    return arrays | {"skipped": np.array(found.skipped)}


def unpack_stretch_result(
    arrays: Mapping[str, np.ndarray],
    detectors: Sequence[str],
    where: str,
    side_names: Sequence[str] = (),
) -> StretchResult:
    """Return what `pack_stretch_result` packed.

    Args:
        arrays: by name.
        detectors: observed.
        where: the file, for messages.
        side_names: of the side targets that the networks predict.

    Raises:
        UserError: an array is missing or has another shape.
    """

    def named(prefix: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(prefix): values
            for name, values in arrays.items()
            if name.startswith(prefix)
        }

    gates, missing = named("gate_"), named("missing_")
    whole = set(gates) == set(GATE_COLUMNS) and set(missing) == set(MISSING_COLUMNS)
    if not whole or "skipped" not in arrays:
        raise UserError(
            f"{where} is damaged or of an older version (it lacks gates or gaps): remove it and "
            f"start again with --resume, which searches that stretch again"
        )
    return StretchResult(
        TriggerTable.from_arrays(detectors, named("trigger_"), where, side_names),
        LiveTimes.from_arrays(detectors, named("live_"), where),
        [Gate(*values) for values in rows_of(gates, GATE_COLUMNS)],
        bool(arrays["skipped"]),
        [MissingStrain(*values) for values in rows_of(missing, MISSING_COLUMNS)],
    )


def rows_of(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of some columns, as Python's own types."""
    return zip(*(arrays[name].tolist() for name in names), strict=True)
