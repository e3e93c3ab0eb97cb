"""Read the run directories of a results folder, for the report.

A run may still be training, lack folds, or hold a damaged file. Everything that can be read is
read. For the rest the message of the `UserError` becomes a note in the row of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import metrics
from experiments.orientation import lines_of
from experiments.prediction_stamp import has_predictions, read_stamp
from experiments.predictions import Predictions
from experiments.run_names import is_run_directory
from experiments.scores import aucs_by_fold, blend_folds
from experiments.signal_quantities import measure_by_quantity
from experiments.strain_maps import SampleFiles, find_worst
from experiments.summary import LOSS_BY_STEP, best_validation_scores
from reporting.curves import MeasuredScores, measure_scores
from reporting.files import (
    Tables,
    path_of,
    read_learning_curves,
    read_predictions_safely,
    read_starts,
    text_or_none,
)
from reporting.reported_run import ReportedRun, ScoreSet
from runtime.console import progress
from runtime.errors import UserError
from runtime.files import is_number, read_json_object

SUFFIXES = {"": "plain", "_tta": "tta"}


# --- the results folder ----------------------------------------------------------------------


def read_all_runs(
    results: Path, show: bool | None = None, may_be_none: bool = False
) -> list[ReportedRun]:
    """Read every experiment in a results folder, the best out-of-fold score first.

    Args:
        show: whether to draw a progress bar; None draws it only on a terminal.
        may_be_none: whether a folder without any is no error, as where searches are shown.

    Raises:
        UserError: there is no such folder, or no experiment in it.
    """
    folders = find_run_directories(results, may_be_none)
    # One for all runs: most of them share their tables and their samples.
    tables = Tables()
    runs = [
        read_run(folder, tables)
        for folder in progress(folders, desc="reading", unit="run", show=show)
    ]

    def rank(run: ReportedRun) -> tuple[bool, float, str]:
        # False sorts before True: runs without a score come last.
        return run.best.oof is None, -(run.best.oof.auc if run.best.oof else 0.0), run.name

    return sorted(runs, key=rank)


def find_run_directories(results: Path, may_be_none: bool = False) -> list[Path]:
    """Return the run directories, without that of a dry run and what was moved aside."""
    how = "train one first, e.g. `python train.py --config Demo`, or name another with --results"
    if not results.is_dir():
        raise UserError(f"there is no folder {results} with experiments: {how}")
    try:
        found = sorted(folder for folder in results.iterdir() if is_run_directory(folder))
    except OSError as error:
        raise UserError(f"{results} cannot be read ({error}): {how}") from error
    if not found and not may_be_none:
        raise UserError(f"{results} holds no experiment: {how}")
    return found


def read_run(folder: Path, tables: Tables) -> ReportedRun:
    run = ReportedRun(folder.name)
    with run.noting():
        run.config = read_json_object(folder / "config.json")
    with run.noting():
        run.starts = read_starts(folder / "run.json")
    with run.noting():
        run.history = read_learning_curves(folder / "history.csv")
    with run.noting():
        run.points = read_learning_curves(folder / LOSS_BY_STEP)
    run.lines = read_lines(run.config, tables)
    # The plain predictions first: `note_samples` lets them decide where there are both.
    for suffix, name in SUFFIXES.items():
        variant = read_scores(run, folder, suffix, tables)
        if variant.folds or variant.oof or variant.test:
            run.variants[name] = variant
    if not run.variants:
        # Not fold<k>_last.pt, which are checkpoints to resume from.
        trained = len(list(folder.glob("fold[0-9].pt")) + list(folder.glob("fold[0-9][0-9].pt")))
        of_all = f" of {run.cv}" if run.cv else ""
        if not any(has_predictions(folder, suffix) for suffix in SUFFIXES):
            run.note(
                f"no predictions yet, {trained}{of_all} folds have weights: train the others, then "
                f"predict with --inference"
            )
        take_validation_scores(run)
    return run


def take_validation_scores(run: ReportedRun) -> None:
    """Show the best validation scores of a training; only AUCs stand in the columns of AUCs."""
    recorded = run.config.get("eval_metric")
    name = str(recorded.get("class", "AUC")) if isinstance(recorded, Mapping) else "AUC"
    metric = getattr(metrics, name, None)
    if name != "AUC" and not isinstance(getattr(metric, "maximize", None), bool):
        return  # of a metric of one's own, the direction is not known without running its file
    best = best_validation_scores(run.history, maximize=name == "AUC" or metric.maximize)
    if not best:
        return
    if name == "AUC":
        scores = {int(fold): score for fold, score in best.items()}
        run.variants["plain"] = ScoreSet(scores, validated=True)
    else:
        said = ", ".join(f"fold {fold} {score:.4f}" for fold, score in best.items())
        run.note(f"the best validation scores of the training so far are of {name}: {said}")


def read_lines(config: Mapping[str, Any], tables: Tables) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of orientation in the learning curves; {} where the samples are unknown."""
    try:
        table = path_of(config, "train_path")
    except UserError:  # which is noted where the scores are read
        return {}
    return lines_of(config, tables.share_of_signals(table), table.parent)


def read_scores(run: ReportedRun, folder: Path, suffix: str, tables: Tables) -> ScoreSet:
    """Score one pair of arrays; if that is impossible, take the scores of summary.json."""
    variant = ScoreSet()
    there = [
        name
        for name in (f"outoffolds{suffix}.npy", f"predictions{suffix}.npy")
        if (folder / name).exists()
    ]
    if len(there) == 1:
        run.note(f"{folder} has {there[0]} without its counterpart: predict again with --inference")
    if has_predictions(folder, suffix):
        with run.noting():
            predictions = read_predictions_safely(folder, suffix)
            note_samples(run, predictions, tables)
            note_weights(run, folder, suffix)
            # One by one: a damaged training table does not cost the score on the test samples.
            with run.noting():
                score_out_of_fold(run, variant, predictions, tables)
            with run.noting():
                score_test_set(run, variant, predictions, tables)
    path = folder / f"summary{suffix}.json"
    if path.exists():
        with run.noting():
            summary = read_json_object(path)
            use_stored_scores(run, variant, summary, path)
            variant.of_seeds = read_scores_of_seeds(summary)
            # The plain predictions come first, and decide where there are both.
            run.breakdown = run.breakdown or read_breakdown(summary)
    return variant


def read_scores_of_seeds(summary: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the AUCs of the seeds of a summary.json by 'oof' and 'test'; {} without seeds."""
    seeds = summary.get("seeds")
    scores = seeds.values() if isinstance(seeds, Mapping) else ()
    scores = [entry for entry in scores if isinstance(entry, Mapping)]
    return {
        kind: [entry[f"{kind}_auc"] for entry in scores if is_number(entry.get(f"{kind}_auc"))]
        for kind in ("oof", "test")
        if scores
    }


def read_breakdown(summary: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the scores by covariate of a summary.json, what is damaged left out."""
    breakdown = summary.get("breakdown")
    if not isinstance(breakdown, Mapping):
        return {}
    return {
        column: [row for row in rows if isinstance(row, Mapping)]
        for column, rows in breakdown.items()
        if isinstance(rows, list)
    }


def note_samples(run: ReportedRun, predictions: Predictions, tables: Tables) -> None:
    """Record which folds have predictions, and which samples the run was trained on."""
    missing = predictions.missing_folds
    if "plain" not in run.variants:  # the plain predictions decide, if there are both
        run.done = [fold for fold in range(len(predictions.logits)) if fold not in missing]
        run.unfinished = list(predictions.unfinished)
    for fold, reason in predictions.unfinished.items():
        run.note(f"the scores of fold {fold} are not those of a finished training: {reason}")
    run.n_train = len(predictions.train_ids)
    # Scores compare where they are of the same samples.
    validated = predictions.validated | np.isfinite(predictions.out_of_fold)
    run.samples = tables.letter(predictions.train_ids[validated])
    if not validated.all():
        run.note(
            f"{int(validated.sum())} of {len(validated)} training samples were validated, so that "
            f"scores are of these, and the run cannot be stacked"
            if validated.any()
            else "no training sample was validated (cv = 1), so that there is no out-of-fold score"
        )
    if missing:
        named = ", ".join(map(str, missing))
        run.note(
            f"fold {named} has no finite logits in predictions{predictions.suffix}.npy, so the "
            f"scores are of the other samples only: train all folds, then predict with --inference"
        )


def note_weights(run: ReportedRun, folder: Path, suffix: str) -> None:
    """Record whether the logits are those of another run's weights."""
    folds = read_stamp(folder, suffix).get("folds", {})
    if any(entry.get("own") is False for entry in folds.values()):
        run.borrowed = True
        source = text_or_none(run.config.get("weight_path"))
        run.note(
            f"its weights are those of {source or 'another run'}, so that its scores are not "
            f"marked as the best"
        )


def score_out_of_fold(
    run: ReportedRun, variant: ScoreSet, predictions: Predictions, tables: Tables
) -> None:
    targets = tables.targets(path_of(run.config, "train_path"), predictions.train_ids)
    # The rows of folds without predictions are NaN.
    known = np.isfinite(predictions.out_of_fold)
    if not known.any():
        return
    folds = predictions.folds[known]
    of_fold = known & predictions.validated
    variant.folds = aucs_by_fold(
        targets[of_fold], predictions.out_of_fold[of_fold], predictions.folds[of_fold]
    )
    for fold in sorted(set(folds[folds >= 0].tolist()) - set(variant.folds)):
        run.note(f"fold {fold} was validated on one class only, so that it has no AUC")
    scored = predictions.train_ids[known], targets[known], predictions.out_of_fold[known]
    variant.oof = measure_scores(*scored[1:])
    known_signals = read_further_scores(run, variant, "oof", "train", *scored, tables)
    if run.worst is None:
        snr = known_signals.get("network SNR")
        run.worst = find_worst(run.name, files_of(run.config), *scored, folds, snr)


def files_of(config: Mapping[str, Any]) -> SampleFiles:
    """Return where the strain of a run's training samples lies.

    Raises:
        UserError: its config names no table.
    """
    cache = text_or_none(config.get("train_cache"))
    root = text_or_none(config.get("data_root"))
    return SampleFiles(path_of(config, "train_path"), Path(cache) if cache else None, root)


def read_further_scores(
    run: ReportedRun,
    variant: ScoreSet,
    kind: str,
    split: str,
    ids: np.ndarray,
    targets: np.ndarray,
    scores: np.ndarray,
    tables: Tables,
) -> dict[str, np.ndarray]:
    """Record scores by SNR and masses, and in an order that runs of the same samples share.

    Returns:
        What is known of the signals, (n,) each.
    """
    if run.complete:
        variant.aligned[kind] = tables.align_scores(split, ids, targets, scores)
    known = tables.signals.quantities(path_of(run.config, f"{split}_path"), ids)
    variant.by_quantity[kind] = measure_by_quantity(targets, scores, known)
    return known


def score_test_set(
    run: ReportedRun, variant: ScoreSet, predictions: Predictions, tables: Tables
) -> None:
    """Score the mean over the folds of the probabilities, if the truth of the test set is known."""
    truth_path = path_of(run.config, "test_path").parent / "test_labels.csv"
    done = np.isfinite(predictions.logits).all(1)
    if not truth_path.exists() or not done.any() or not len(predictions.test_ids):
        return
    # Aligned by id: the truth may be in another order than the predictions.
    targets = tables.targets(truth_path, predictions.test_ids)
    blend = blend_folds(predictions.logits[done])  # (folds, m) -> (m,)
    variant.test = measure_scores(targets, blend)
    read_further_scores(run, variant, "test", "test", predictions.test_ids, targets, blend, tables)


def use_stored_scores(
    run: ReportedRun, variant: ScoreSet, summary: dict[str, Any], path: Path
) -> None:
    """Take from summary.json what could not be computed, and compare what could."""
    if "metric" in summary:
        score = summary.get("oof_score")
        shown = f" {score:.4f}" if is_number(score) else ""
        run.note(
            f"its target is no signal, so that it has no AUC; its out-of-fold "
            f"{summary['metric']}{shown} stands in {path}"
        )
        return
    filled = []
    for kind, name in (("oof", "out-of-fold"), ("test", "test")):
        auc, error = summary.get(f"{kind}_auc"), summary.get(f"{kind}_auc_error")
        if not is_number(auc):
            continue
        computed: MeasuredScores | None = getattr(variant, kind)
        if computed is None:
            error = float(error) if is_number(error) else None
            setattr(variant, kind, MeasuredScores(float(auc), error, stored=True))
            filled.append(name)
        # Half of the last decimal that scores are shown with.
        elif abs(computed.auc - auc) > 5e-5:
            run.note(
                f"{path} states an {name} AUC of {auc:.4f}, but the arrays beside it give "
                f"{computed.auc:.4f}, which is shown: predict again with --inference"
            )
    stored = summary.get("fold_scores")
    if not variant.folds and isinstance(stored, dict):
        variant.folds = {
            int(fold): float(score)
            for fold, score in stored.items()
            # keys of JSON objects are always text
            if fold.isdecimal() and is_number(score)
        }
        variant.validated = bool(variant.folds)
    if filled:
        run.note(f"the {' and '.join(filled)} score is the one stored in {path}")
