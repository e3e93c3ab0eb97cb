"""The file of all triggers of a search, `triggers.hdf5`: as recorded and slid, with live times.

Groups `triggers` and `live` hold the columns of `TriggerTable` and `LiveTimes`; the attribute
`identity` is the JSON of all that decides the results of the search. Another search takes such a
file as background. A search with injections adds the group `injections` (sensitivity_files.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import UserError
from runtime.files import atomic_path
from search.live_times import LiveTimes, concatenate_live_times, read_live_group, write_live_group
from search.trigger_table import TriggerTable, TriggerWriter, read_trigger_group

FORMAT = 1


@dataclass(frozen=True)
class SearchFile:
    """All triggers of a search.

    Attributes:
        found: triggers of the strain as it was recorded, in order of time.
        slid: triggers of its time slides; of the columns that rates do not need, only NaN.
        live: seconds of all slides of all stretches.
        least: the lowest score that was kept.
        identity: all that decides the results, in JSON types.
    """

    found: TriggerTable
    slid: TriggerTable
    live: LiveTimes
    least: float
    identity: dict[str, Any]

    @property
    def observed_seconds(self) -> dict[str, float]:
        """Live time of the strain as it was recorded, s, by combination."""
        return self.live.take(self.live.slide == 0).total_by_combination()


def write_search_file(
    path: Path,
    parts: Iterable[tuple[TriggerTable, LiveTimes]],
    detectors: tuple[str, ...],
    least: float,
    identity: Mapping[str, Any],
    side_names: tuple[str, ...] = (),
) -> None:
    """Write the triggers of a search, whole or not at all.

    Args:
        path: of the file.
        parts: triggers and live times of each stretch; only one of them is in memory at a time.
        detectors: observed.
        least: the lowest score that was kept.
        identity: all that decides the results, in JSON types.
        side_names: of the side targets that the networks predict.
    """
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        # Not with `track_order`: older h5py then stores the time of writing, and files of the same
        # search would differ.
        file.attrs["format"] = FORMAT
        file.attrs["least"] = least
        file.attrs["identity"] = json.dumps(identity, sort_keys=True)
        writer = TriggerWriter(file.create_group("triggers"), detectors, side_names)
        lives = []
        for table, live in parts:
            writer.append(table)
            lives.append(live)
        write_live_group(file.create_group("live"), concatenate_live_times(lives))


def read_search_file(path: Path) -> SearchFile:
    """Return what `write_search_file` wrote.

    Raises:
        UserError: the file is missing or damaged, or holds something else.
    """
    import h5py

    advice = "give the triggers.hdf5 of a finished search of detect.py"
    try:
        with h5py.File(path, "r") as file:
            if "triggers" not in file or "live" not in file:
                raise UserError(f"{path} holds no triggers of a search: {advice}")
            if file.attrs.get("format") != FORMAT:
                raise UserError(f"{path} is of another version of detect.py: {advice}")
            identity = json.loads(file.attrs["identity"])
            least = float(file.attrs["least"])
            live = read_live_group(file["live"], str(path))
            table = read_trigger_group(file["triggers"], str(path))
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}): {advice}") from error
    if not isinstance(identity, dict):
        raise UserError(f"{path} is damaged (its identity is no object): {advice}")
    found = table.take(table.slide == 0)
    found = found.take(np.argsort(found.time, kind="stable"))
    slid = leave_details_out(table.take(table.slide > 0))
    return SearchFile(found, slid, live, least, identity)


def leave_details_out(table: TriggerTable) -> TriggerTable:
    """Return a table whose columns that rates do not need take no memory."""
    count, width = table.detector_times.shape
    nothing = np.broadcast_to(np.float64(np.nan), (count,))
    by_detector = np.broadcast_to(np.float64(np.nan), (count, width))
    return dataclasses.replace(
        table,
        mass1=nothing,
        mass2=nothing,
        template=np.broadcast_to(np.int32(-1), (count,)),
        detector_scores=by_detector,
        snr=by_detector,
        chi_squared=by_detector,
        sides=np.broadcast_to(np.float64(np.nan), table.sides.shape),
    )
