"""The summary of a run: its scores with their errors, its submission and one paragraph."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configuration.config_class import ConfigMeta
from data.sample_files import read_table
from experiments.breakdown import break_down, format_breakdown
from experiments.curve_figure import draw_fold, guessing_of
from experiments.npy_files import load_array
from experiments.orientation import matched_filter_score
from experiments.outputs_summary import (
    format_scores,
    mean_outputs,
    score_outputs,
    score_side_targets,
    score_test_outputs,
    table_of_outputs,
)
from experiments.prediction_stamp import unfinished_predictions
from experiments.run_records import NOT_VALIDATED
from experiments.sample_table import read_covariate
from experiments.scores import auc_with_error, aucs_by_fold, blend_folds, ordered_probabilities
from experiments.signal_quantities import NETWORK_SNR, SignalParameters
from experiments.strain_maps import SampleFiles, find_worst, map_strain
from experiments.summary_figure import SummaryPicture, draw_summary, draw_summary_of_outputs
from experiments.targets import outputs_of
from runtime.console import LOGGER, format_seconds
from runtime.errors import UserError
from runtime.files import atomic_path, write_json
from training.fit_state import TrainerState
from training.loss_by_step import loss_points

if TYPE_CHECKING:
    import pandas as pd

LOSS_BY_STEP = "loss_by_step.csv"


def write_summary(
    folder: Path,
    suffix: str,
    train: pd.DataFrame,
    test: pd.DataFrame,
    config: ConfigMeta,
    true: np.ndarray,
    seeds: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Score the arrays in `folder`; write submission, summary and picture, named with `suffix`.

    The names carry the suffix, so that predictions with and without test-time views keep their
    files side by side.

    Args:
        suffix: '' or '_tta', which pair of arrays to use.
        train, test: tables with id, in the order of the arrays' rows.
        config: of the run; the truth (test_labels.csv) and the parameters of the injections
            (parameters.csv) are looked for beside its tables.
        true: (n, outputs), the targets of the training rows.
        seeds: where the arrays are a mean over seeds, the summary of each.

    Returns:
        The content of summary.json.
    """
    outputs = outputs_of(config)
    every_output = load_array(folder / f"outoffolds{suffix}.npy")  # (n, outputs)
    of_test = load_array(folder / f"predictions{suffix}.npy")  # (folds, m, outputs)
    out_of_fold, logits = every_output[:, 0], of_test[..., 0]  # (n,) and (folds, m)
    is_signal = outputs.target.kind == "binary"
    predicted = np.isfinite(logits).all(1)  # folds without weights are NaN
    result: dict[str, Any] = {
        "folds": int(predicted.sum()),
        "n_train": len(train),
        "n_test": len(test),
    }
    unfinished = unfinished_predictions(folder, suffix)
    if unfinished:
        result["unfinished"] = {str(fold): reason for fold, reason in unfinished.items()}
    # NaN: rows of folds that were not predicted
    known = np.isfinite(out_of_fold)
    truth = true[:, 0]
    if is_signal:
        result |= scored_as("oof", truth[known], out_of_fold[known])
    history = read_history(folder / "history.csv")
    seconds = sum(row.get("train_seconds", 0) + row.get("valid_seconds", 0) for row in history)
    result["training_seconds"] = round(seconds, 1)
    # A fold that is predicted in part, as in a dry run, has no score of its own.
    folds = load_array(folder / "folds.npy")
    # A network of other data has a logit for every row, whatever the folds are.
    validated = int((known | (folds != NOT_VALIDATED)).sum())
    if validated < len(folds):
        result["n_validated"] = validated
    whole = known & ~np.isin(folds, folds[~known]) & (folds != NOT_VALIDATED)
    if is_signal:
        by_fold = aucs_by_fold(truth[whole], out_of_fold[whole], folds[whole]) if history else {}
        result["fold_scores"] = {str(fold): auc for fold, auc in by_fold.items()}
        if config.covariates and known.any():
            result["breakdown"] = {
                column: break_down(
                    read_covariate(config.train_path, column, train)[known],
                    truth[known],
                    out_of_fold[known],
                )
                for column in config.covariates
            }
    else:
        result |= score_outputs(config, true[whole], every_output[whole], folds[whole])
    sides = score_side_targets(outputs, true[known], every_output[known])
    if sides:
        result["side_targets"] = sides

    test_labels = Path(config.test_path).parent / "test_labels.csv"
    if predicted.any() and not is_signal:
        with atomic_path(folder / f"submission{suffix}.csv") as temporary:
            ids = test["id"].to_numpy(str)
            table_of_outputs(outputs, ids, of_test[predicted]).to_csv(temporary, index=False)
        blended = mean_outputs(outputs, of_test[predicted])
        result |= score_test_outputs(config, test_labels, test, blended)
    elif predicted.any():
        blend = blend_folds(logits[predicted])  # (folds, m) -> (m,)
        with atomic_path(folder / f"submission{suffix}.csv") as temporary:
            table = test[["id"]].assign(target=ordered_probabilities(blend))
            table.to_csv(temporary, index=False)
        test_truth = read_truth(test_labels, test)
        if test_truth is not None:
            result |= scored_as("test", test_truth, blend)
    if seeds:
        result |= scores_over_seeds(seeds)
    write_json(folder / f"summary{suffix}.json", result)
    metric = getattr(config.eval_metric.build(), "name", "score")
    drawn = SummaryPicture(
        folder / f"summary{suffix}.png",
        f"{folder.name}{suffix}",
        history,
        metric,
        guessing_of(config, true[folds != NOT_VALIDATED]) if history else None,
        read_history(folder / LOSS_BY_STEP),
        matched_filters(config, metric),
    )
    if is_signal:
        ids = train["id"].to_numpy(str)[known]
        quantities = SignalParameters().quantities(Path(config.train_path), ids)
        scored = ids, truth[known], out_of_fold[known]
        snr = quantities.get(NETWORK_SNR)
        worst = find_worst(folder.name, files_of(config), *scored, folds[known], snr)
        maps = map_strain(worst)
        draw_summary(drawn, *scored[1:], quantities, result, maps)
    else:
        draw_summary_of_outputs(drawn, outputs, true[known], every_output[known])
    return result


def files_of(config: ConfigMeta) -> SampleFiles:
    """Return where the strain of a run's training samples lies."""
    cache = None if config.train_cache is None else Path(config.train_cache)
    return SampleFiles(Path(config.train_path), cache, config.data_root)


def draw_fold_curves(
    folder: Path, fold: int, state: TrainerState, config: ConfigMeta, true: np.ndarray
) -> Path | None:
    """Draw the learning curves of one fold, fold<k>.png; return its path, None without an epoch.

    Args:
        folder: the run directory.
        state: how far the fold is.
        config: of the run.
        true: (n, outputs), the targets of the validation rows of the fold.
    """
    if not state.history:
        return None
    path = folder / f"fold{fold}.png"
    metric = getattr(config.eval_metric.build(), "name", "score")
    draw_fold(
        path,
        f"{folder.name}, fold {fold}",
        [{"fold": fold, **row} for row in state.history],
        metric,
        guessing_of(config, true),
        [{"fold": fold, **point} for point in loss_points(state.loss_by_step)],
        matched_filters(config, metric),
    )
    return path


def matched_filters(config: ConfigMeta, metric: str) -> float | None:
    """Return the score of matched filters on samples like a run's; None where it is not known."""
    if metric != "auc" or outputs_of(config).target.kind != "binary":
        return None
    return matched_filter_score(Path(config.train_path).parent)


def scores_over_seeds(seeds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the scores of single seeds, with their mean and standard deviation.

    Args:
        seeds: the summary of each.

    Returns:
        `seeds`: the scores of each; `oof_auc_of_seeds` and `test_auc_of_seeds`: `mean`, and
        `deviation` (n - 1), which is None of a single seed.
    """
    names = ("oof_auc", "oof_auc_error", "test_auc", "test_auc_error")
    found: dict[str, Any] = {
        "seeds": {
            seed: {key: summary[key] for key in names if key in summary}
            for seed, summary in seeds.items()
        }
    }
    for key in ("oof_auc", "test_auc"):
        scores = [summary[key] for summary in seeds.values() if key in summary]
        if scores:
            deviation = statistics.stdev(scores) if len(scores) > 1 else None
            found[f"{key}_of_seeds"] = {"mean": statistics.fmean(scores), "deviation": deviation}
    return found


def scored_as(kind: str, targets: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return {'<kind>_auc': ..., '<kind>_auc_error': ...}; {} if there is only one class.

    The error is left out if a class has a single sample.
    """
    if len(np.unique(np.round(targets))) < 2:
        return {}
    auc, error = auc_with_error(targets, scores)
    return {f"{kind}_auc": auc} | ({} if error is None else {f"{kind}_auc_error": error})


def write_history(path: Path, folds: Mapping[int, Sequence[Mapping[str, float]]]) -> None:
    """Write the learning curves of all folds as one CSV, one row per fold and point."""
    rows = [{"fold": fold, **scores} for fold, history in folds.items() for scores in history]
    # Of all rows: a fold that was resumed by a newer version may have further scores.
    names = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of history.csv or loss_by_step.csv; [] if there is none.

    Raises:
        UserError: it is damaged.
    """
    if not path.exists():
        return []
    try:
        with open(path, newline="") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        # A number may be NaN, a fold and an epoch may not.
        whole = all(np.isfinite([row["fold"], row["epoch"]]).all() for row in rows)
    # A row that is too long has a list at the end; one that is too short lacks its fold or epoch.
    except (ValueError, TypeError, KeyError, csv.Error):
        whole = False
    if not whole:
        raise UserError(
            f"{path} is damaged: remove it; --resume writes it again, from fold<k>.json"
        )
    return rows


def best_validation_scores(
    history: Sequence[Mapping[str, float]], maximize: bool = True
) -> dict[str, float]:
    """Return the best validation score of each fold so far, by its number as text.

    Args:
        history: the rows of history.csv.
        maximize: whether a larger score is better, as the metric says.
    """
    best: dict[str, float] = {}
    better = max if maximize else min
    for row in history:
        fold = str(int(row["fold"]))
        score = row.get("valid_metric", np.nan)
        if np.isfinite(score):
            best[fold] = better(best.get(fold, score), score)
    return best


def read_truth(path: Path, test: pd.DataFrame) -> np.ndarray | None:
    """Return the true targets (m,) of simulated test samples.

    None if there is no such file, or it is of other samples or no table of targets. A file that a
    user put there costs the test score and must not stop a run after its training.
    """
    if not path.exists():
        return None
    try:
        labels = read_table(path, ("id", "target")).set_index("id")["target"]
    except UserError as error:
        LOGGER.warning("no test score: %s", error)
        return None
    missing = [sample for sample in test["id"] if sample not in labels.index]
    if missing:
        LOGGER.warning(f"no test score: {path} has no row for {missing[0]!r}")
        return None
    truth = labels.loc[test["id"]].to_numpy()
    wrong = ~np.isin(truth, (0.0, 1.0))
    if wrong.any():
        sample = test["id"].iloc[int(wrong.argmax())]
        LOGGER.warning(f"no test score: {path} gives {sample!r} a target other than 0 and 1")
        return None
    return truth


def run_paragraph(
    name: str, result: dict[str, Any], folder: Path, suffix: str, dry_run: bool = False
) -> str:
    """Return one paragraph: what was trained, how good it is and which files are in `folder`.

    Args:
        result: the content of summary.json.
        dry_run: leave out the scores, which are of two batches and mean nothing.
    """
    if dry_run:
        text = (
            f"Dry run of {name}: training, validation, prediction and summary work. Its scores are "
            f"of two batches and mean nothing."
        )
        return f"{text} {list_run_files(folder, suffix)}"
    folds = f"{result['folds']} fold{'s' * (result['folds'] != 1)}"
    text = f"{name}: {folds} on {result['n_train']} samples"
    if result["training_seconds"]:
        text += f", trained in {format_seconds(result['training_seconds'])}"
    text += "."
    validated = result.get("n_validated", result["n_train"])
    if not validated:
        text += " No sample was validated, so that there is no out-of-fold score."
    if "oof_auc" in result:
        text += f" Out-of-fold AUC {format_auc(result, 'oof')}"
        if validated < result["n_train"]:
            text += f" on the {validated} samples that are validated"
        scores = list(result["fold_scores"].values())
        if len(scores) > 1:
            text += f" (folds {min(scores):.4f} to {max(scores):.4f})"
        text += "."
    text += format_scores(result)
    if "test_auc" in result:
        text += (
            f" Test AUC {format_auc(result, 'test')} on {result['n_test']} samples whose truth is "
            f"known."
        )
    if "unfinished" in result:
        folds = ", ".join(result["unfinished"])
        text += f" The training of fold {folds} had not ended when it was predicted."
    if "oof_auc_of_seeds" in result:
        text += f" {format_seed_scores(result)}"
    for column, rows in result.get("breakdown", {}).items():
        text += f" {format_breakdown(column, rows)}"
    views = " The logits are averaged over the test-time views." if suffix else ""
    return f"{text}{views} {list_run_files(folder, suffix)}"


def format_seed_scores(result: Mapping[str, Any]) -> str:
    """Return a sentence on the scores of single seeds, e.g. '... 0.8431 ± 0.0012 (3 seeds ...).'"""
    scores = result["oof_auc_of_seeds"]
    spread = "" if scores["deviation"] is None else f" ± {scores['deviation']:.4f}"
    return (
        f"That is of the mean over {len(result['seeds'])} seeds; a single one has "
        f"{scores['mean']:.4f}{spread}."
    )


def format_auc(result: Mapping[str, Any], kind: str) -> str:
    """Return e.g. '0.8712 ± 0.0011', without the error if there is none."""
    text = f"{result[f'{kind}_auc']:.4f}"
    error = result.get(f"{kind}_auc_error")
    return text if error is None else f"{text} ± {error:.4f}"


def list_run_files(folder: Path, suffix: str) -> str:
    """Return a sentence that names the results which are in a run directory."""
    paths = [*folder.glob("fold*.pt"), *folder.glob("seed*/fold*.pt")]
    weights = [path for path in paths if path.stem[4:].isdecimal()]
    seeds = len({path.parent for path in weights})
    what = f"{len(weights)} fold{'s' * (len(weights) > 1)}"
    if seeds > 1:
        what += f" of {seeds} seeds"
    found = [f"the weights of {what}"] if weights else []
    names = (
        f"outoffolds{suffix}.npy",
        f"predictions{suffix}.npy",
        f"submission{suffix}.csv",
        "history.csv",
        f"summary{suffix}.json",
        f"summary{suffix}.png",
    )
    found += [name for name in names if (folder / name).is_file()]
    if not found:
        return f"There are no results in {folder}/."
    listed = ", ".join(found[:-1]) + " and " + found[-1] if len(found) > 1 else found[0]
    return f"In {folder}/: {listed}."
