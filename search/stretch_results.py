"""What a search finds in one stretch, and the arrays that the store keeps of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from data.gates import Gate
from runtime.errors import UserError
from search.live_times import LiveTimes
from search.trigger_table import TriggerTable


@dataclasses.dataclass(frozen=True)
class StretchResult:
    """What was found in one stretch.

    Attributes:
        table: triggers of all slides.
        live: seconds of all slides.
        gates: glitches that were taken out of the strain.
        skipped: whether there was too little clean strain.
    """

    table: TriggerTable
    live: LiveTimes
    gates: list[Gate]
    skipped: bool


def pack_stretch_result(found: StretchResult) -> dict[str, np.ndarray]:
    """Return arrays by name, from which `unpack_stretch_result` makes the same again."""
    arrays = {f"trigger_{name}": values for name, values in found.table.arrays().items()}
    arrays |= {f"live_{name}": values for name, values in found.live.arrays().items()}
    arrays["gate_detector"] = np.array([gate.detector for gate in found.gates], "U8")
    for name in ("start", "end", "peak", "snr"):
        arrays[f"gate_{name}"] = np.array([getattr(gate, name) for gate in found.gates], "f8")
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

    gates = named("gate_")
    if set(gates) != {"detector", "start", "end", "peak", "snr"} or "skipped" not in arrays:
        raise UserError(
            f"{where} is damaged (its gates are missing): remove it and start again with "
            f"--resume, which searches that stretch again"
        )
    columns = (gates[name].tolist() for name in ("detector", "start", "end", "peak", "snr"))
    return StretchResult(
        TriggerTable.from_arrays(detectors, named("trigger_"), where, side_names),
        LiveTimes.from_arrays(detectors, named("live_"), where),
        [Gate(*values) for values in zip(*columns, strict=True)],
        bool(arrays["skipped"]),
    )
