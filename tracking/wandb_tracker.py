"""Scores for Weights & Biases: online, or offline with WANDB_MODE=offline.

It reads wandb's own variables: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_API_KEY. Offline
files lie in tracking/<part>/ of the run directory; `wandb sync` sends them later.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.optional_packages import require
from tracking.tracked_part import BY_STEP, Point, TrackedPart, flatten

PROJECT = "g2net-toolkit"
STEPS_AN_EPOCH = 1000  # as wandb counts; more than a loss by step has points


class WandbTracker:
    """A run of Weights & Biases for one part; the parts of an experiment are a group.

    Args:
        run: the id of the run to continue; None begins one.

    Raises:
        UserError: wandb is not installed, or the run cannot begin, as without a login.
    """

    def __init__(self, part: TrackedPart, run: str | None = None) -> None:
        self.wandb = require("wandb", "wandb")
        self.run = run or uuid.uuid4().hex[:12]
        part.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.handle = self.wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=part.name,
                id=self.run,
                resume="allow",
                group=part.experiment,
                job_type="fold" if part.part.startswith("fold") else "result",
                dir=str(part.folder),
                config=dict(part.config),
                # The log of a run is this project's own; wandb would redirect the terminal.
                settings=self.wandb.Settings(console="off", silent=True),
            )
            self.handle.define_metric("*", step_metric="epoch")
        except self.wandb.errors.Error as error:
            raise UserError(
                f"tracker = 'wandb': {' '.join(str(error).split())}: log in with `wandb login`, or "
                f"track into files with WANDB_MODE=offline in the environment"
            ) from error

    def log_epochs(
        self, history: Sequence[Mapping[str, float]], first: int, points: Sequence[Point] = ()
    ) -> None:
        # wandb takes steps in ascending order only. The points of the loss by step lie between
        # the epochs, which are therefore counted in thousands; curves are drawn against "epoch".
        for scores in history[first:]:
            epoch = int(scores["epoch"])
            inside = [point for point in points if epoch - 1 < point["epoch"] < epoch]
            for number, point in enumerate(inside, 1):
                values = {"epoch": point["epoch"], BY_STEP: point["train_loss"]}
                self.handle.log(values, step=(epoch - 1) * STEPS_AN_EPOCH + number)
            ends = [point["train_loss"] for point in points if point["epoch"] == epoch]
            last = {BY_STEP: ends[0]} if ends else {}  # epochs of an earlier version have none
            self.handle.log({**scores, **last}, step=epoch * STEPS_AN_EPOCH)

    def log_result(self, figures: Mapping[str, Any], files: Sequence[Path]) -> None:
        for key, value in flatten(figures):
            self.handle.summary[key] = value
        for file in files:
            if file.suffix == ".png":
                self.handle.log({file.stem: self.wandb.Image(str(file))})
            else:
                self.handle.save(str(file), base_path=str(file.parent), policy="now")

    def close(self, finished: bool) -> None:
        self.handle.finish(exit_code=0 if finished else 1)
