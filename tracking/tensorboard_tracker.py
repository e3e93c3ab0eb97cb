"""Scores for TensorBoard, in tensorboard/<part>/ of the run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracking.tracked_part import ALL_FOLDS, BY_STEP, Point, TrackedPart, points_after


class TensorBoardTracker:
    """Writes every score of every epoch as a scalar, and the training loss by step.

    A resumed fit adds a file of events.
    """

    def __init__(self, part: TrackedPart, run: str | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # only here, as it is slow to import

        self.run = None
        folder = part.run_folder / "tensorboard" / part.part
        # The result of all folds has no curve.
        self.writer = None if part.part == ALL_FOLDS else SummaryWriter(str(folder))

    def log_epochs(
        self, history: Sequence[Mapping[str, float]], first: int, points: Sequence[Point] = ()
    ) -> None:
        if self.writer is None:
            return
        for point in points_after(points, first):
            self.writer.add_scalar(BY_STEP, point["train_loss"], int(point["step"]))
        for scores in history[first:]:
            for key, value in scores.items():
                self.writer.add_scalar(key, value, scores["epoch"])
        self.writer.flush()

    def log_result(self, figures: Mapping[str, Any], files: Sequence[Path]) -> None:
        pass  # they lie beside its files, in the run directory

    def close(self, finished: bool) -> None:
        if self.writer is not None:
            self.writer.close()
