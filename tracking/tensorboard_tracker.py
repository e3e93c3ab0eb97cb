"""Scores for TensorBoard, in tensorboard/<part>/ of the run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracking.tracked_part import ALL_FOLDS, BY_STEP, Point, TrackedPart, points_after

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardTracker:
    """Writes every score of every epoch as a scalar, and the training loss by step.

    A resumed fit adds a file of events. It is opened for the first epoch that goes into it:
    TensorBoard takes half a second to import, for which no training has to wait before its first
    step.
    """

    def __init__(self, part: TrackedPart, run: str | None = None) -> None:
        self.run = None
        self.folder = part.run_folder / "tensorboard" / part.part
        self.has_curve = part.part != ALL_FOLDS  # the result of all folds has none
        self.writer: SummaryWriter | None = None

    def log_epochs(
        self, history: Sequence[Mapping[str, float]], first: int, points: Sequence[Point] = ()
    ) -> None:
        new = list(points_after(points, first))
        if not self.has_curve or not (history[first:] or new):
            return
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder))
        for point in new:
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
