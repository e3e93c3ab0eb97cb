"""What 'finished' means: the weights of one fold, and what is recorded of them.

A fold is finished when its training has ended, after all epochs that config.json asks for or
by early stopping, and its weights still are those that the training left. The record is the
trainer's state (`training/fit_state.py`), which lies in three files:

    fold<k>.json     the state at the end of the last epoch, with `weights`, the content digest of
                     fold<k>.pt, and `trained_from`, digests of all that decided these weights
    fold<k>.pt       the best weights, with the state of the epoch that they are of
    fold<k>_last.pt  all that resuming needs, with the state at that moment

No file's absence is read as history: whatever is left of the three says what it knows. Inference,
pseudo-labels, stacking, detect and the pipeline ask here instead of looking for files.

predictions.json (and predictions_tta.json) says of the logits beside it

    folds     by fold: `weights` (content digest), `finished`, `epoch`, `own` (whether they are
              this run's, not those of `weight_path`), `file` (where they lay, a description)
    samples   digest of the ids and folds of their rows
    labelled  digest of the training rows with their targets, as `samples` in fold<k>.json
    strain    content digests of some of the samples, by split and id; it and `labelled` are null
              of logits that an earlier version made, which did not record them
    settings  digest of the settings that decide logits; `config` holds them in full
    views     names of the test-time views

Two files of predictions are of the same networks when `folds` have the same `weights` and
`samples`, `strain` and `settings` are the same; paths and `config` only explain.
prediction_stamp.py reads these files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.run_records import read_fold_state, read_run_config
from runtime.errors import UserError
from training.checkpoints import content_digest, load_checkpoint

FINISH_OR_ALLOW = "train it to its end with --resume, or use it as it is with --allow_unfinished"


@dataclass(frozen=True)
class FoldRecord:
    """What lies on disk of one fold.

    Attributes:
        path: fold<k>.pt, whether or not it exists.
        digest: content digest of the weights in it; None where the file is missing.
        recorded: the digest that fold<k>.json gives; None in runs older than digests.
        state: the trainer's state, from the best of the three files that have one; empty where
            there is none, as for weights of another toolkit.
        weights_epoch: the epoch after which the weights were saved, where they say so.
        training_ended: whether the state records that the training has ended.
        resumable: whether fold<k>_last.pt is there.
        asked_epochs: the num_epochs of config.json beside the weights; None where it is not there.
        stopped_early: whether the training ended before its epochs were done.
    """

    path: Path
    digest: str | None
    recorded: str | None
    state: Mapping[str, Any] = field(default_factory=dict)
    weights_epoch: int = 0
    training_ended: bool = False
    resumable: bool = False
    asked_epochs: int | None = None
    stopped_early: bool = False

    @property
    def trained_from(self) -> Mapping[str, Any]:
        """Digests of what decided the weights; empty in runs older than this record."""
        return self.state.get("trained_from", {})

    @property
    def is_known(self) -> bool:
        """Whether anything lies there of how the fold was trained."""
        return bool(self.state)

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return int(self.state.get("epoch", 0))

    @property
    def has_recorded_weights(self) -> bool:
        """Whether the weights are those that the record is of; runs without digests count."""
        return self.digest is not None and self.recorded in (None, self.digest)

    @property
    def lacks_epochs(self) -> bool:
        """Whether the run was since given more epochs than this fold has been trained for."""
        return (
            self.training_ended
            and not self.stopped_early
            and self.asked_epochs is not None
            and self.epoch < self.asked_epochs
        )

    @property
    def has_final_weights(self) -> bool:
        """Whether a training ended and left these weights, even if more epochs are now wanted."""
        return self.training_ended and self.has_recorded_weights

    @property
    def finished(self) -> bool:
        return self.has_final_weights and not self.lacks_epochs

    @property
    def is_unfinished(self) -> bool:
        """Whether it is known that the training has not ended; of strangers' weights it is not."""
        return self.is_known and not self.finished

    def explain_unfinished(self) -> str:
        """Return why these weights do not count as finished, as a clause."""
        if self.digest is None:
            return f"{self.path} is missing"
        if not self.training_ended:
            return f"{self.path} is of a training that has not ended (epoch {self.epoch})"
        if not self.has_recorded_weights:
            return f"{self.path} is not the file that {self.path.with_suffix('.json').name} is of"
        return (
            f"{self.path} has been trained for {self.epoch} of the {self.asked_epochs} epochs that "
            f"{self.path.with_name('config.json')} asks for"
        )


def read_fold(weights: Path) -> FoldRecord:
    """Return what lies on disk of the fold whose weights are, or would be, `weights`.

    Args:
        weights: e.g. results/demo/fold0.pt; a file of any other name has a record only inside it.

    Raises:
        UserError: one of the files is damaged.
    """
    described, last = weights.with_suffix(".json"), last_checkpoint(weights)
    digest, inside = None, {}
    if weights.is_file():
        content = load_checkpoint(weights)
        digest, inside = content_digest(content["model"]), dict(content.get("state") or {})
    # fold<k>.json is of the last epoch, the state inside the weights of the best one only.
    state, recorded = inside, inside.get("weights")
    outside = read_fold_state(described)
    if outside:
        state, recorded = outside, outside.get("weights")
    elif last.is_file():
        state = load_checkpoint(last, ("state",))["state"]
        recorded = state.get("weights")
    # Beside weights of another toolkit it may be any file.
    config = read_run_config(weights.parent) if state else {}
    asked_epochs = config.get("num_epochs")
    return FoldRecord(
        path=weights,
        digest=digest,
        recorded=recorded,
        state=state,
        weights_epoch=int(inside.get("epoch", 0)),
        training_ended=bool(state.get("finished")),
        resumable=last.is_file(),
        asked_epochs=asked_epochs if isinstance(asked_epochs, int) else None,
        stopped_early=has_stopped_early(state, config),
    )


def has_stopped_early(state: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether a training ended before its epochs were done.

    Args:
        state: of the fold, as its trainer wrote it.
        config: the content of config.json beside it.
    """
    if not state.get("finished"):
        return False
    epoch = int(state.get("epoch", 0))
    if state.get("adjusted"):
        # the settings of the last start, which the training ended under
        return epoch < state["adjusted"][-1].get("num_epochs", epoch)
    # Older runs do not record how many epochs were asked for when they ended. The counter of
    # `EarlyStopping` follows from the best epoch: every later one counts, after `skip_epoch`.
    best = state.get("best_epoch") or 0
    return any(
        epoch - max(best, callback.get("skip_epoch", 0)) >= callback["patience"]
        for callback in config.get("callbacks") or ()
        if isinstance(callback, Mapping) and "patience" in callback
    )


def last_checkpoint(weights: Path) -> Path:
    """Return the path of fold<k>_last.pt beside fold<k>.pt."""
    return weights.with_name(f"{weights.stem}_last.pt")


def check_finished(
    records: Iterable[FoldRecord], allow_unfinished: bool, advice: str = FINISH_OR_ALLOW
) -> None:
    """Refuse weights of a training that has not ended.

    Weights that nothing is known of, of another toolkit say, are not refused.

    Args:
        allow_unfinished: let them through, as --allow_unfinished does.
        advice: what to do, the end of the sentence.

    Raises:
        UserError: a fold is not finished.
    """
    refused = [
        record.explain_unfinished()
        for record in records
        if record.is_unfinished
        # missing weights cannot be allowed
        and (record.digest is None or not allow_unfinished)
    ]
    if refused:
        raise UserError(f"{', and '.join(refused)}: {advice}")
