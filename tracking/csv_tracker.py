"""Scores as a table that grows with every epoch, in tracking/<part>/ of the run directory."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.files import atomic_path, write_json
from tracking.tracked_part import BY_STEP, Point, TrackedPart


class CsvTracker:
    """Writes tables that grow with every epoch, and result.json in the end.

    scores.csv has a row for each epoch, train_loss_by_step.csv one for each group of steps. Both
    are written whole each time, so that a resumed fit leaves no row twice.
    """

    def __init__(self, part: TrackedPart, run: str | None = None) -> None:
        self.run = None
        self.folder = part.folder

    def log_epochs(
        self, history: Sequence[Mapping[str, float]], first: int, points: Sequence[Point] = ()
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_table(self.folder / "scores.csv", history)
        if points:
            write_table(self.folder / f"{BY_STEP}.csv", points)

    def log_result(self, figures: Mapping[str, Any], files: Sequence[Path]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "result.json", dict(figures))

    def close(self, finished: bool) -> None:
        pass  # every file is closed as soon as it is written


def write_table(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    # of all rows: an epoch of an earlier version may have fewer scores
    names = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
