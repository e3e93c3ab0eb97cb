"""Scores as a table that grows with every epoch, in tracking/<part>/ of the run directory."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.files import atomic_path, write_json
from tracking.tracked_part import TrackedPart


class CsvTracker:
    """Writes scores.csv, one row for each epoch, and result.json in the end.

    The table is written whole each time, so that a resumed fit leaves no row twice.
    """

    def __init__(self, part: TrackedPart, run: str | None = None) -> None:
        self.run = None
        self.folder = part.folder

    def log_epochs(self, history: Sequence[Mapping[str, float]], first: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # of all rows: an epoch of an earlier version may have fewer scores
        names = list(dict.fromkeys(key for scores in history for key in scores))
        table = self.folder / "scores.csv"
        with atomic_path(table) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(history)

    def log_result(self, figures: Mapping[str, Any], files: Sequence[Path]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "result.json", dict(figures))

    def close(self, finished: bool) -> None:
        pass  # every file is closed as soon as it is written
