"""What a run came to: scores with their errors, a submission, one picture and one paragraph."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sample_files import read_table
from experiments.predictions import load_array, sigmoid
from metrics import AUC, bootstrap_error
from runtime.console import format_seconds
from runtime.errors import UserError
from runtime.files import atomic_path, write_json

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SIGNAL, NOISE = "#b2432f", "#4a6fa5"  # one colour a class, in every panel


def write_summary(
    folder: Path,
    suffix: str,
    train: pd.DataFrame,
    test: pd.DataFrame,
    train_path: str,
    test_path: str,
) -> dict[str, Any]:
    """Score the arrays in `folder`, write submission.csv, summary.json and summary.png.

    Args:
        suffix: '' or '_tta', which pair of arrays to use.
        train, test: tables with id and target, in the order of the arrays' rows.
        train_path, test_path: their CSVs; truth (test_labels.csv) and the injections'
            parameters (parameters.csv) are looked for beside them.
    Returns:
        The figures, as in summary.json.
    """
    out_of_fold = np.load(folder / f"outoffolds{suffix}.npy", allow_pickle=False)[:, 0]
    predictions = np.load(folder / f"predictions{suffix}.npy", allow_pickle=False)[..., 0]
    done = np.isfinite(predictions).all(1)
    result: dict[str, Any] = {"folds": int(done.sum()), "n_train": len(train), "n_test": len(test)}
    known = np.isfinite(out_of_fold)
    truth = train["target"].to_numpy()
    result |= auc_with_error("oof", truth[known], out_of_fold[known])
    history = read_history(folder / "history.csv")
    seconds = sum(row.get("train_seconds", 0) + row.get("valid_seconds", 0) for row in history)
    result["training_seconds"] = round(seconds, 1)
    result["fold_scores"] = aucs_by_fold(folder, truth, out_of_fold) if history else {}

    test_truth = None
    if done.any():
        blend = sigmoid(predictions[done]).mean(0)  # (folds, n_test) -> (n_test,)
        with atomic_path(folder / "submission.csv") as temporary:
            test[["id"]].assign(target=blend).to_csv(temporary, index=False)
        test_truth = read_truth(Path(test_path).parent / "test_labels.csv", test)
        if test_truth is not None:
            result |= auc_with_error("test", test_truth, blend)
    write_json(folder / f"summary{suffix}.json", result)
    draw_summary(
        folder / "summary.png",
        f"{folder.name}{suffix}",
        history,
        truth[known],
        out_of_fold[known],
        read_snr(Path(train_path).parent / "parameters.csv", train[known]),
        result,
    )
    return result


def auc_with_error(kind: str, targets: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return the AUC and its bootstrap error; nothing where there is only one class."""
    if len(set(targets)) < 2:
        return {}
    auc = AUC()(targets, scores)
    return {f"{kind}_auc": auc, f"{kind}_auc_error": bootstrap_error(targets, scores, seed=0)}


def write_history(path: Path, folds: Mapping[int, Sequence[Mapping[str, float]]]) -> None:
    """Write the learning curves of all folds as one CSV, a row an epoch."""
    rows = [{"fold": fold, **scores} for fold, history in folds.items() for scores in history]
    names = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: Path) -> list[dict[str, float]]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def best_validation_scores(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each fold's best validation score so far."""
    best: dict[str, float] = {}
    for row in history:
        fold = str(int(row["fold"]))
        score = row.get("valid_metric", np.nan)
        if np.isfinite(score):
            best[fold] = max(best.get(fold, score), score)
    return best


def aucs_by_fold(folder: Path, truth: np.ndarray, out_of_fold: np.ndarray) -> dict[str, float]:
    """Return the AUC of every fold that has logits, by its number as text."""
    folds = load_array(folder / "folds.npy")
    scores = {}
    for fold in np.unique(folds):
        rows = folds == fold
        if np.isfinite(out_of_fold[rows]).all() and len(set(truth[rows])) == 2:
            scores[str(fold)] = AUC()(truth[rows], out_of_fold[rows])
    return scores


def read_truth(path: Path, test: pd.DataFrame) -> np.ndarray | None:
    """Return the true targets of simulated test samples, None where there is no such file."""
    if not path.exists():
        return None
    labels = read_table(path, ("id", "target")).set_index("id")["target"]
    missing = [sample for sample in test["id"] if sample not in labels.index]
    if missing:
        raise UserError(f"{path} has no row for {missing[0]!r}: it belongs to other test samples")
    return labels.loc[test["id"]].to_numpy()


def read_snr(path: Path, train: pd.DataFrame) -> np.ndarray | None:
    """Return the network SNR (n,) of simulated samples, NaN where there is noise only."""
    import pandas as pd

    if not path.exists():
        return None
    table = read_table(path, ("id",)).set_index("id")
    if "network_snr" not in table or not set(train["id"]) & set(table.index):
        return None
    snr = pd.to_numeric(table["network_snr"], errors="coerce")
    return snr.reindex(train["id"]).to_numpy(float)


def run_paragraph(name: str, result: dict[str, Any], folder: Path, suffix: str) -> str:
    """Say in one paragraph what was trained, how good it is and where everything lies."""
    text = f"{name}: {result['folds']} folds on {result['n_train']} samples"
    if result["training_seconds"]:
        text += f", trained in {format_seconds(result['training_seconds'])}"
    text += "."
    if "oof_auc" in result:
        text += f" Out-of-fold AUC {result['oof_auc']:.4f} ± {result['oof_auc_error']:.4f}"
        scores = list(result["fold_scores"].values())
        if len(scores) > 1:
            text += f" (folds {min(scores):.4f} to {max(scores):.4f})"
        text += "."
    if "test_auc" in result:
        text += (
            f" Test AUC {result['test_auc']:.4f} ± {result['test_auc_error']:.4f} "
            f"on {result['n_test']} samples whose truth is known."
        )
    views = " averaged over the test-time views" if suffix else ""
    return (
        f"{text} Weights, logits{views} (outoffolds{suffix}.npy, predictions{suffix}.npy), "
        f"submission.csv, history.csv and summary.png lie in {folder}/."
    )


# --- the picture -----------------------------------------------------------------------------


def draw_summary(
    path: Path,
    title: str,
    history: Sequence[dict[str, float]],
    targets: np.ndarray,
    logits: np.ndarray,
    snr: np.ndarray | None,
    result: dict[str, Any],
) -> None:
    """Draw learning curves, ROC, score histograms and efficiency against SNR into one PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    figure.suptitle(title, fontsize=14)
    draw_curves(axes[0, 0], history)
    both = len(set(targets)) == 2
    if both:
        draw_roc(axes[0, 1], targets, logits, result)
    draw_histogram(axes[1, 0], targets, logits)
    if both and snr is not None:
        draw_efficiency(axes[1, 1], targets, logits, snr)
    for axis, shown, why in (
        (axes[0, 0], bool(history), "no training history in this folder"),
        (axes[0, 1], both, "one class only: no ROC"),
        (axes[1, 1], both and snr is not None, "no parameters.csv: the SNRs are unknown"),
    ):
        if not shown:
            axis.axis("off")
            axis.text(0.5, 0.5, why, ha="center", va="center", color="0.4")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def draw_curves(axis: Axes, history: Sequence[dict[str, float]]) -> None:
    for fold in sorted({int(row["fold"]) for row in history}):
        rows = [row for row in history if int(row["fold"]) == fold]
        epochs = [row["epoch"] for row in rows]
        colour = f"C{fold}"
        valid = [row.get("valid_metric", np.nan) for row in rows]
        train = [row.get("train_metric", np.nan) for row in rows]
        axis.plot(epochs, valid, "o-", color=colour, ms=3, label=f"fold {fold}")
        axis.plot(epochs, train, ":", color=colour, lw=1)
    axis.set(xlabel="epoch", ylabel="AUC", title="Learning curves (dotted: training)")
    axis.grid(alpha=0.3)
    if history:
        axis.legend(fontsize=8)


def roc_corners(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.metrics import roc_curve

    false_alarms, efficiency, _ = roc_curve(np.round(targets), scores)
    return false_alarms, efficiency


def draw_roc(axis: Axes, targets: np.ndarray, logits: np.ndarray, result: dict[str, Any]) -> None:
    false_alarms, efficiency = roc_corners(targets, logits)
    label = f"AUC {result['oof_auc']:.4f} ± {result['oof_auc_error']:.4f}"
    axis.plot(false_alarms, efficiency, color=SIGNAL, label=label)
    axis.fill_between(false_alarms, efficiency, color=SIGNAL, alpha=0.1)
    axis.plot([0, 1], [0, 1], "--", color="0.6", lw=1)
    axis.set(
        xlabel="false-alarm probability",
        ylabel="efficiency",
        title="ROC, out of fold",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")


def draw_histogram(axis: Axes, targets: np.ndarray, logits: np.ndarray) -> None:
    bins = np.linspace(*np.percentile(logits, [0.1, 99.9]), 60) if len(logits) else 10
    for value, name, colour in ((0, "noise", NOISE), (1, "signal", SIGNAL)):
        chosen = logits[np.round(targets) == value]
        axis.hist(chosen, bins, color=colour, alpha=0.55, label=f"{name} ({len(chosen)})")
    axis.set(xlabel="logit", ylabel="samples", title="Scores by class, out of fold")
    axis.legend()


def draw_efficiency(
    axis: Axes, targets: np.ndarray, logits: np.ndarray, snr: np.ndarray, bins: int = 12
) -> None:
    """Draw which share of signals is found, by their SNR, at three false-alarm probabilities."""
    noise = np.sort(logits[np.round(targets) == 0])
    found = (np.round(targets) == 1) & np.isfinite(snr)
    edges = np.quantile(snr[found], np.linspace(0, 1, bins + 1))  # as many signals in each bin
    place = np.clip(np.searchsorted(edges, snr[found], side="right") - 1, 0, bins - 1)
    counts = np.maximum(np.bincount(place, minlength=bins), 1)
    centres = np.bincount(place, snr[found], minlength=bins) / counts
    for index, probability in enumerate((0.1, 0.01, 0.001)):
        if len(noise) * probability < 5:  # too few noise samples to set this threshold
            continue
        threshold = np.quantile(noise, 1 - probability)
        share = np.bincount(place, logits[found] > threshold, minlength=bins) / counts
        error = np.sqrt(share * (1 - share) / counts)
        axis.errorbar(
            centres,
            share,
            error,
            fmt="o-",
            ms=3,
            color=f"C{index}",
            label=f"false-alarm probability {probability:g}",
        )
    axis.set(
        xlabel="network SNR", ylabel="efficiency", title="Efficiency against SNR", ylim=(0, 1.02)
    )
    axis.set_xscale("log")
    ticks = [4, 5, 6, 8, 10, 15, 20, 25]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=8)
