"""What a job of the pipeline asks the weights and labels on disk before it trains or predicts.

A fold that began with other weights, or learnt other pseudo-labels, than lie there now is trained
anew. What it replaces is moved aside.
"""

from __future__ import annotations

from pathlib import Path

from configuration.config_class import ConfigMeta
from experiments.fold_record import read_fold
from experiments.moved_aside import complete_move, move_aside
from experiments.pipeline_done_files import are_of_other_weights, current_digest
from experiments.run_directory import stays
from experiments.run_identity import start_of_fold
from runtime.errors import UserError
from runtime.files import read_json_object
from runtime.locks import hold, run_lock


def began_with_other_weights(
    config: ConfigMeta, results: Path, fold: int, folder: Path | None = None
) -> bool:
    """Whether a fold was begun with other weights than its `weight_path` holds now.

    Args:
        folder: its run directory; None is results/<name>.
    """
    if config.weight_path is None:
        return False
    before = read_fold((folder or results / config.name) / f"fold{fold}.pt").trained_from
    if not before:
        return False  # nothing was begun, or it is older than the record
    now = start_of_fold(config, results, fold, pretrained=True, weights=None)
    return before["start"]["weights"] != now["weights"]


def move_run_of_other_labels_aside(
    config: ConfigMeta, results: Path, folder: Path | None = None
) -> Path | None:
    """Move a whole run aside that learnt other pseudo-labels than its source gives now.

    Folds of other labels must not lie beside each other, so that all of them are trained anew.
    Of the jobs of the run, the first moves it, and the others find it moved.

    Args:
        folder: the run directory, of one seed where the run has several; None is results/<name>.

    Returns:
        Where it is now; None if nothing was moved.

    Raises:
        UserError: the predictions of the source are missing or incomplete, or a fold of the run
            is being trained just now.
    """
    folder = folder or results / config.name
    figures = folder / "pseudo_labels.json"
    if config.pseudo_labels is None or not figures.is_file():
        return None
    digest = labels_digest(config, results)
    with hold(folder / ".begin.lock", wait=True):
        complete_move(folder)
        if not figures.is_file() or read_json_object(figures).get("digest") == digest:
            return None
        with run_lock(folder):
            return move_aside(folder, [path.name for path in folder.iterdir() if not stays(path)])


def labels_digest(config: ConfigMeta, results: Path) -> str:
    """Return the digest of the pseudo-labels that a run would learn from now."""
    from experiments.building import read_data
    from experiments.folds import fold_of_rows, split_folds

    train, test = read_data(config)
    labels = config.pseudo_labels.build().read(
        results,
        train["id"].to_numpy(str),
        fold_of_rows(split_folds(config, train), len(train)),
        test["id"].to_numpy(str),
    )
    return labels.digest


def has_predictions_of_other_weights(folder: Path) -> bool:
    """Whether predictions lie in a run, plain or with views, that its weights did not make."""
    return any(
        (folder / f"predictions{suffix}.json").is_file() and are_of_other_weights(folder, suffix)
        for suffix in ("", "_tta")
    )


def digest_to_mark(results: Path, name: str) -> str:
    """Return what the mark of a job that has just ended holds.

    Args:
        name: of the mark below `results`.

    Raises:
        UserError: what the job was to make is not finished.
    """
    path = results / name
    if path.stem.startswith("fold"):
        record = read_fold(path.with_suffix(".pt"))
        if not record.finished:
            raise UserError(f"{record.explain_unfinished()}: resume the pipeline to train it")
        return record.recorded or ""
    digest = current_digest(results, name)
    if digest is None:
        raise UserError(f"the job has ended, and the results that {path} marks are not complete")
    return digest
