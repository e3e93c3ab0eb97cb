"""The marks by which Snakemake knows what is finished, and whether they still hold.

Snakemake deletes the outputs of a job before it starts the job, and again when the job fails.
Therefore no result is ever an output. The outputs are marks, small files that can be made again:

    <run>/fold<k>.done           content digest of the finished weights; of a run with several
                                 seeds <run>/seed<s>/fold<k>.done
    <run>/predictions.done       digest of predictions.json, which says what the logits are of
    <run>/predictions_tta.done   the same with test-time views
    stack.done                   digest of submission.csv and stack.json
    report.done                  digest of index.html

Snakemake compares the content of an input with what it was when a job last ran. A mark that is
written again with the same digest therefore makes nothing outdated.

Only the JSON records are read here, never the weights: all marks are checked at every start.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from experiments.building import weights_of_fold
from experiments.pipeline import Plan
from experiments.prediction_stamp import changed_seeds, has_predictions, read_stamp
from experiments.run_records import read_fold_state
from experiments.samples_learnt_from import fold_number
from experiments.seed_folders import SEED_FOLDER, config_of_seed, seed_folder
from runtime.errors import UserError
from runtime.files import atomic_path, read_json_object

FOLD_MARK = re.compile(r"fold(\d+)\.done")


# --- what a mark holds -----------------------------------------------------------------------


def finished_digest(weights: Path) -> str | None:
    """Return the digest that a fold's record gives of finished weights; None if there are none.

    It is '' for runs older than digests.

    Raises:
        UserError: the record is damaged.
    """
    record = weights.with_suffix(".json")
    if not weights.is_file() or not record.is_file():
        return None
    state = read_fold_state(record)
    # by the record alone: to read all weights at every start would take too long
    return (state.get("weights") or "") if state.get("finished") else None


def predictions_digest(folder: Path, suffix: str = "") -> str | None:
    """Return a digest of predictions<suffix>.json; None where predictions are not whole."""
    stamp = folder / f"predictions{suffix}.json"
    if not stamp.is_file() or not has_predictions(folder, suffix):
        return None
    return files_digest(stamp)


def files_digest(*paths: Path) -> str | None:
    """Return a digest of the bytes of some files; None if one is missing."""
    content = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            return None
        # digest by digest, so that it matters where one file ends and the next begins
        content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()


def current_digest(results: Path, name: str) -> str | None:
    """Return what the mark `name` should hold now; None if its results are not finished.

    Args:
        name: of the mark below `results`, e.g. demo/fold0.done.
    """
    path = results / name
    if FOLD_MARK.fullmatch(path.name):
        return finished_digest(path.with_suffix(".pt"))
    if path.stem.startswith("predictions"):
        return predictions_digest(path.parent, path.stem.removeprefix("predictions"))
    if path.stem == "stack":
        return files_digest(results / "submission.csv", results / "stack.json")
    return files_digest(results / "index.html")


def write_mark(mark: Path, digest: str) -> None:
    with atomic_path(mark) as temporary:
        temporary.write_text(f"{digest}\n")


# --- whether it holds ------------------------------------------------------------------------


def outdated_marks(plan: Plan) -> dict[str, str]:
    """Return the marks that no longer hold, each with the reason; nothing is changed.

    Results may have been made again, removed or left unfinished outside the pipeline. A missing
    mark is not listed: its job runs anyway. An empty mark, as earlier versions wrote it, holds
    when its results are finished.
    """
    found = {}
    for name in mark_names(plan):
        if (Path(plan.results) / name).is_file():
            try:
                reason = explain_outdated(plan, name)
            except UserError as error:  # a damaged record: the job says what to do
                reason = str(error)
            if reason is not None:
                found[name] = reason
    return found


def mark_names(plan: Plan) -> list[str]:
    """Return the names of all marks of a pipeline, below its results."""
    names = []
    for run in plan.runs:
        names += [f"{run}/{network}.done" for network in plan.networks(run)]
        names.append(f"{run}/predictions.done")
        if plan.wants_views(run):
            names.append(f"{run}/predictions_tta.done")
    return [*names, "stack.done", "report.done"]


def explain_outdated(plan: Plan, name: str) -> str | None:
    """Return why an existing mark does not hold, as a sentence; None if it does."""
    results = Path(plan.results)
    path, digest = results / name, current_digest(results, name)
    fold = FOLD_MARK.fullmatch(path.name)
    if digest is None:
        if fold:
            return f"{path.with_suffix('.pt')} is not finished: it is trained to its end"
        return f"the results that {path} marks are missing or incomplete: they are made again"
    marked = path.read_text(errors="replace").strip()
    # The page of a report may be drawn again at any time; it is enough that there is one.
    if marked and marked != digest and name != "report.done":
        return f"the results that {path} marks have changed: what was made from them is outdated"
    if fold:
        run, _, network = name.removesuffix(".done").partition("/")
        return explain_other_start(plan, run, network)
    if path.stem.startswith("predictions"):
        suffix = path.stem.removeprefix("predictions")
        if are_of_other_weights(path.parent, suffix):
            return f"predictions{suffix}.npy in {path.parent} is of other weights than are there"
    return None


def explain_other_start(plan: Plan, run: str, network: str) -> str | None:
    """Return in which way a finished fold began otherwise than it would now; None if it did not.

    Args:
        network: of the run, as `Plan.networks` names it.

    Other pseudo-labels of the same source are left to the job, which reads them.
    """
    results, config = Path(plan.results), plan.runs[run]
    weights = results / run / f"{network}.pt"
    of_seed = SEED_FOLDER.fullmatch(weights.parent.name) if config.seeds else None
    if of_seed:
        config = config_of_seed(config, int(of_seed[1]))
    if config.weight_path is not None:
        before = recorded_start(weights).get("weights")
        parent = weights_of_fold(config, results, fold_number(weights))
        now = finished_digest(parent)
        # Where one of them is unknown, as in older runs, nothing is claimed to have changed.
        if before and now and before != now:
            return f"{weights} began with other weights than {parent} holds now"
    labels = weights.with_name("pseudo_labels.json")
    if config.pseudo_labels is not None and labels.is_file():
        source = read_json_object(labels).get("source")
        if source not in (None, plan.label_source(run)):
            return f"{weights} learnt the labels of {source}, not of {plan.label_source(run)}"
    return None


def recorded_start(weights: Path) -> dict[str, Any]:
    """Return what a fold's record says that its weights began as; {} in older runs."""
    state = read_fold_state(weights.with_suffix(".json"))
    return (state.get("trained_from") or {}).get("start") or {}


def are_of_other_weights(folder: Path, suffix: str = "") -> bool:
    """Whether logits were made with weights of this run that are not those finished there now."""
    stamp = read_stamp(folder, suffix)
    if stamp.get("seeds"):  # the mean over seeds, which have weights and predictions of their own
        parts = (seed_folder(folder, int(seed)) for seed in stamp["seeds"])
        return bool(changed_seeds(folder, suffix, stamp)) or any(
            are_of_other_weights(part, suffix) for part in parts
        )
    folds = stamp.get("folds", {})
    return any(
        entry.get("own") and entry.get("weights") != finished_digest(folder / f"fold{fold}.pt")
        for fold, entry in folds.items()
    )


# --- results of earlier versions -------------------------------------------------------------


def unmarked_predictions(plan: Plan) -> list[str]:
    """Return the marks that are missing of finished predictions of a run with marked folds.

    Earlier versions marked the folds only.
    """
    outdated = outdated_marks(plan)
    names = []
    for name in mark_names(plan):
        path = Path(plan.results) / name
        if not path.stem.startswith("predictions") or path.exists():
            continue
        run, suffix = path.parent.name, path.stem.removeprefix("predictions")
        folds = [f"{run}/{network}.done" for network in plan.networks(run)]
        if any(fold in outdated or not (Path(plan.results) / fold).is_file() for fold in folds):
            continue
        if predictions_digest(path.parent, suffix) is None:
            continue
        # A stamp older than digests does not say of which weights it is: the job compares them.
        stamp = read_stamp(path.parent, suffix)
        complete = {str(fold) for fold in plan.folds(run)} <= stamp.get("folds", {}).keys()
        if complete and not are_of_other_weights(path.parent, suffix):
            names.append(name)
    return names


def mark_predictions(plan: Plan, names: list[str]) -> None:
    """Write marks of finished predictions, as old as these, so that nothing is made again."""
    for name in names:
        mark = Path(plan.results) / name
        stamp = mark.with_suffix(".json")
        folds = [*mark.parent.glob("fold*.done"), *mark.parent.glob("seed*/fold*.done")]
        older = [stamp, *folds, mark.with_name("predictions.done")]
        # Not now: Snakemake would take the mark for newer than what was made from it.
        date = max(path.stat().st_mtime_ns for path in older if path.exists())
        write_mark(mark, predictions_digest(mark.parent, mark.stem.removeprefix("predictions")))
        os.utime(mark, ns=(date, date))
