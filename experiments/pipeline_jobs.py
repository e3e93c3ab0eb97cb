"""What a job of the pipeline asks of the weights before it trains or predicts, and its marks.

A fold is done for the pipeline when its mark, fold<k>.done, holds the content digest of weights
that are finished (see fold_record.py). Jobs that use a fold have its mark as their input, so that
other weights in the parent, whoever trained them, lead to new children and new predictions.
"""

from __future__ import annotations

from pathlib import Path

from configuration.rules import ConfigMeta
from experiments.fold_record import read_fold
from experiments.pipeline import Plan
from experiments.predictions import read_stamp
from experiments.run_identity import start_of_fold
from experiments.run_records import read_fold_state
from runtime.errors import UserError
from runtime.files import atomic_path


def weights_path(plan: Plan, run: str, fold: int) -> Path:
    return Path(plan.results) / run / f"fold{fold}.pt"


def finished_digest(weights: Path) -> str | None:
    """Return the digest that a fold's record gives of finished weights; None if there are none.

    The weights themselves are not read: this is asked of all folds at every start.
    """
    record = weights.with_suffix(".json")
    if not weights.is_file() or not record.is_file():
        return None
    state = read_fold_state(record)
    return (state.get("weights") or "") if state.get("finished") else None


# --- marks -----------------------------------------------------------------------------------


def write_mark(plan: Plan, run: str, fold: int, mark: str | Path) -> None:
    """Write the mark of a fold that has just been trained.

    Raises:
        UserError: its weights are not finished.
    """
    record = read_fold(weights_path(plan, run, fold))
    if not record.finished:
        raise UserError(f"{record.explain_unfinished()}: resume the pipeline to train it")
    with atomic_path(mark) as temporary:
        temporary.write_text(f"{record.recorded or ''}\n")


def correct_marks(plan: Plan) -> list[str]:
    """Make the marks say what lies there now; return a sentence for each that was wrong.

    A fold may have been trained again outside the pipeline. Where that has not ended, its mark is
    removed, so that the fold is a job again. Where it has, the mark gets the new digest and a new
    date, so that everything made from the fold is a job again.
    """
    sentences = []
    for run in plan.runs:
        for fold in plan.folds(run):
            weights = weights_path(plan, run, fold)
            mark = weights.with_suffix(".done")
            if not mark.is_file():
                continue
            digest = finished_digest(weights)
            if digest is None:
                mark.unlink()
                sentences.append(f"{weights} is not finished: it is trained to its end")
            elif mark.read_text().strip() != digest:
                with atomic_path(mark) as temporary:
                    temporary.write_text(f"{digest}\n")
                sentences.append(f"{weights} was trained again: what was made from it is outdated")
    return sentences


# --- commands --------------------------------------------------------------------------------


def train_command(plan: Plan, run: str, fold: int) -> str:
    """Return the command that trains a fold: resumed, or anew where what it began from changed."""
    return plan.train(run, fold, anew=is_outdated(plan, run, fold))


def is_outdated(plan: Plan, run: str, fold: int) -> bool:
    """Whether a fold was begun with other weights, or learnt other pseudo-labels, than are there.

    Raises:
        UserError: the predictions that it takes its labels from are missing or incomplete.
    """
    config = plan.runs[run]
    if config.weight_path is None and config.pseudo_labels is None:
        return False
    before = read_fold(weights_path(plan, run, fold)).trained_from
    if not before:
        return False  # nothing was begun
    if config.weight_path is not None:
        start = start_of_fold(config, Path(plan.results), fold, pretrained=True, weights=None)
        if before["start"]["weights"] != start["weights"]:
            return True
    return config.pseudo_labels is not None and before["pseudo_labels"] != labels_digest(
        config, Path(plan.results)
    )


def labels_digest(config: ConfigMeta, results: Path) -> str:
    """Return the digest of the pseudo-labels that a run would learn from now."""
    from experiments.building import fold_of_rows, read_data, split_folds

    train, test = read_data(config)
    labels = config.pseudo_labels.build().read(
        results,
        train["id"].to_numpy(str),
        fold_of_rows(split_folds(config, train), len(train)),
        test["id"].to_numpy(str),
    )
    return labels.digest


def predict_command(plan: Plan, run: str, views: bool = False) -> str:
    """Return the command that predicts; it moves predictions of other weights aside."""
    return plan.predict(run, views, anew=any(outdated_predictions(plan, run)))


def outdated_predictions(plan: Plan, run: str) -> list[bool]:
    """Return for each file of predictions that is there whether it is of other weights."""
    folder = Path(plan.results) / run
    outdated = []
    for suffix in ("", "_tta"):
        folds = read_stamp(folder, suffix).get("folds")
        if folds is None:
            continue
        outdated.append(
            any(
                entry.get("own") and entry.get("weights") != finished_digest(folder / f"fold{k}.pt")
                for k, entry in folds.items()
            )
        )
    return outdated
