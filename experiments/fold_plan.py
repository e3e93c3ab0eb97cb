"""What a start does with each fold: decided for all folds before anything is trained or written.

begin     nothing is there, or only what a run left that was killed before its first checkpoint
resume    a checkpoint of an unfinished training is there
extend    the training has ended, and the config now asks for more epochs
keep      finished; or, with --skip_existing, weights are there
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from experiments.fold_record import FoldRecord, last_checkpoint
from runtime.errors import UserError


class FoldAction(Enum):
    BEGIN = "begin"
    RESUME = "resume"
    EXTEND = "extend"
    KEEP = "keep"


@dataclass(frozen=True)
class FoldPlan:
    """What is done with one fold, and what lies there of it."""

    fold: int
    action: FoldAction
    record: FoldRecord

    @property
    def trains(self) -> bool:
        return self.action is not FoldAction.KEEP


def plan_fold(
    fold: int,
    record: FoldRecord,
    num_epochs: int,
    skip_existing: bool = False,
    allow_unfinished: bool = False,
) -> FoldPlan:
    """Return what a start that continues a run does with a fold.

    Args:
        num_epochs: of the config, as it is now.
        skip_existing: keep a fold that has weights.
        allow_unfinished: with it, also where its training has not ended.

    Raises:
        UserError: a file is missing that cannot be made again without training the fold anew.
    """
    path = record.path
    anew = f"train the fold anew with --overwrite --limit_fold {fold}"
    if skip_existing and record.digest is not None:
        if record.is_unfinished and not allow_unfinished:
            raise UserError(
                f"{record.explain_unfinished()}: --resume instead of --skip_existing trains it to "
                f"its end; --allow_unfinished keeps it as it is"
            )
        too_short = record.finished and not record.stopped_early and record.epoch < num_epochs
        if too_short and not allow_unfinished:
            # Else the prediction would refuse it, after the other folds have been trained.
            raise UserError(
                f"{path} has been trained for {record.epoch} epochs, and this run asks for "
                f"{num_epochs}: --resume instead of --skip_existing trains it further; "
                f"--allow_unfinished keeps it as it is"
            )
        return FoldPlan(fold, FoldAction.KEEP, record)
    if not record.is_known:
        if record.digest is not None:
            raise UserError(
                f"{path} lies there without a record of its training (fold{fold}.json): "
                f"--skip_existing keeps it; or {anew}"
            )
        return FoldPlan(fold, FoldAction.BEGIN, record)
    if not record.training_ended:
        if record.resumable:
            return FoldPlan(fold, FoldAction.RESUME, record)
        if record.epoch > 1:
            raise UserError(
                f"{last_checkpoint(path)} is missing, which fold {fold} would be resumed from "
                f"after epoch {record.epoch}: restore it, or {anew}"
            )
        # Killed between the first weights and the first checkpoint to resume from.
        return FoldPlan(fold, FoldAction.BEGIN, record)
    if record.digest is None:
        raise UserError(
            f"{path} is missing, and fold{fold}.json or fold{fold}_last.pt says that the fold is "
            f"finished: restore it, or {anew}"
        )
    if not record.has_recorded_weights:
        # Killed while a finished fold was trained for more epochs.
        if record.resumable and record.weights_epoch > record.epoch:
            return FoldPlan(fold, FoldAction.EXTEND, record)
        raise UserError(f"{record.explain_unfinished()}: restore it, or {anew}")
    if num_epochs > record.epoch and not record.stopped_early:
        if not record.resumable:
            raise UserError(
                f"{last_checkpoint(path)} is missing, which fold {fold} would be trained further "
                f"from, to epoch {num_epochs}: restore it, keep num_epochs = {record.epoch}, or "
                f"{anew}"
            )
        return FoldPlan(fold, FoldAction.EXTEND, record)
    return FoldPlan(fold, FoldAction.KEEP, record)
