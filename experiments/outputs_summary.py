"""The part of a run's summary that is of several outputs, of numbers, and of side targets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configuration.config_class import ConfigMeta
from data.sample_files import read_table
from experiments.objectives import OutputsMetric, SideError, output_names
from experiments.predictor import OutputScores
from experiments.targets import Outputs, check_columns_of_table, outputs_of
from runtime.console import LOGGER
from runtime.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def score_outputs(
    config: ConfigMeta, true: np.ndarray, out_of_fold: np.ndarray, folds: np.ndarray
) -> dict[str, Any]:
    """Return the score of a run whose target is no signal, by its `eval_metric`.

    Args:
        true, out_of_fold: (n, outputs) each, of finite rows.
        folds: (n,) of these rows.

    Returns:
        'metric', its name; 'oof_score' of all rows; 'fold_scores' of each fold, where they are
        defined.
    """
    metric = OutputsMetric(config.eval_metric.build(), outputs_of(config))
    result: dict[str, Any] = {"metric": metric.name, "fold_scores": {}}
    score = score_or_none(metric, true, out_of_fold)
    if score is not None:
        result["oof_score"] = score
    for fold in np.unique(folds).tolist():
        score = score_or_none(metric, true[folds == fold], out_of_fold[folds == fold])
        if score is not None:
            result["fold_scores"][str(fold)] = score
    return result


def score_or_none(metric: OutputsMetric, true: np.ndarray, found: np.ndarray) -> float | None:
    """Return a metric; None where it is undefined, as of one class alone."""
    if not len(true):
        return None
    try:
        return metric(true, found)
    except UserError as error:
        LOGGER.warning("no score: %s", error)
        return None


def score_test_outputs(
    config: ConfigMeta, path: Path, test: pd.DataFrame, outputs: np.ndarray
) -> dict[str, float]:
    """Return {'test_score': ...}, if a table holds the targets of the test samples; else {}.

    Args:
        path: of the table, test_labels.csv.
        test: id of each sample.
        outputs: (m, outputs), the mean over the folds.
    """
    target = outputs_of(config).target
    if not path.is_file():
        return {}
    try:
        table = read_table(path, ("id",)).set_index("id", drop=False)
        check_columns_of_table(table, str(path), target.columns)
        missing = [name for name in test["id"] if name not in table.index]
        if missing:
            raise UserError(f"{path} has no row for {missing[0]!r}")
        true = target.read(table.loc[test["id"]], str(path))
    # A file that a user put there costs the test score and must not stop a run after its training.
    except UserError as error:
        LOGGER.warning("no test score: %s", error)
        return {}
    metric = OutputsMetric(config.eval_metric.build(), Outputs(target))
    score = score_or_none(metric, true, outputs[:, : true.shape[1]])
    return {} if score is None else {"test_score": score}


def score_side_targets(
    outputs: Outputs, true: np.ndarray, out_of_fold: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return {name: {'median_error', 'samples'}} of the side targets that are known of a sample.

    Args:
        true, out_of_fold: (n, outputs) each.
    """
    found = {}
    for number, side in enumerate(outputs.sides):
        errors = SideError(outputs, number).errors(true, out_of_fold)
        if errors.size:
            median = float(np.median(errors))
            found[side.name] = {"median_error": median, "samples": int(errors.size)}
    return found


def mean_outputs(outputs: Outputs, logits: np.ndarray) -> np.ndarray:
    """Return outputs (m, K + S) of the mean over folds of the values of logits (folds, m, K + S).

    The mean is that of probabilities or values, as predict.py reports it, and is put back into the
    form of outputs: metrics take both alike.
    """
    values = OutputScores(logits.astype(np.float64), outputs).of_folds.mean(0)
    main, target = outputs.main(values), outputs.target
    if target.kind == "numbers":
        quantities = target.quantities
        columns = [quantity.encode(main[:, i]) for i, quantity in enumerate(quantities)]
    elif target.kind == "classes":
        # softmax(log p) is p; a probability of 0 would be minus infinity
        columns = list(np.log(np.maximum(main, np.finfo(float).tiny)).T)
    else:
        small = np.finfo(float).eps
        clipped = np.clip(main, small, 1 - small)
        columns = list((np.log(clipped) - np.log1p(-clipped)).T)
    sides = [
        side.quantity.encode(outputs.side(values, number))
        for number, side in enumerate(outputs.sides)
    ]
    return np.stack([*columns, *sides], axis=1)


def table_of_outputs(outputs: Outputs, ids: np.ndarray, logits: np.ndarray) -> pd.DataFrame:
    """Return id and the values of all outputs, the mean over the folds of (folds, m, outputs)."""
    import pandas as pd

    scores = OutputScores(logits.astype(np.float64), outputs)
    return pd.DataFrame({"id": ids, **scores.values})


def format_scores(result: Mapping[str, Any]) -> str:
    """Return sentences with the scores of a target that is no signal, and of side targets."""
    text = ""
    if "metric" in result:
        name = result["metric"].replace("_", " ")
        if "oof_score" in result:
            text += f" Out-of-fold {name} {result['oof_score']:.4f}"
            scores = list(result["fold_scores"].values())
            if len(scores) > 1:
                text += f" (folds {min(scores):.4f} to {max(scores):.4f})"
            text += "."
        if "test_score" in result:
            text += f" Test {name} {result['test_score']:.4f} on {result['n_test']} samples."
    for name, score in result.get("side_targets", {}).items():
        text += (
            f" Median error of {name} {score['median_error']:.3g} over {score['samples']} samples."
        )
    return text


# --- panels of summary.png --------------------------------------------------------------------


def draw_outputs(axes: list[Axes], outputs: Outputs, true: np.ndarray, found: np.ndarray) -> None:
    """Draw targets against outputs into as many panels as there are.

    Args:
        axes: that may be drawn in; those left over are turned off.
        outputs: what the columns are.
        true, found: (n, outputs) each.
    """
    target, panels = outputs.target, []
    values = OutputScores(found[None].astype(np.float64), outputs).of_folds[0]  # (n, outputs)
    known = OutputScores(true[None], outputs).of_folds[0] if target.kind == "numbers" else true
    if target.kind == "classes":
        panels.append((draw_confusion, (target.outputs, true, outputs.main(values))))
    for number, name in enumerate(output_names(outputs)):
        if number >= outputs.count:
            side = outputs.sides[number - outputs.count]
            panels.append(
                (draw_scatter, (name, side.quantity.decode(true[:, number]), values[:, number]))
            )
        elif target.kind == "numbers":
            panels.append((draw_scatter, (name, known[:, number], values[:, number])))
        elif target.kind == "labels":
            panels.append((draw_shares, (name, true[:, number], values[:, number])))
    for axis, (draw, arguments) in zip(axes, panels, strict=False):
        draw(axis, *arguments)
    for axis in axes[len(panels) :]:
        axis.axis("off")


def draw_confusion(
    axis: Axes, names: tuple[str, ...], true: np.ndarray, probability: np.ndarray
) -> None:
    """Draw how many samples of each class were taken for each, as shares of the true class."""
    count = len(names)
    table = np.zeros((count, count))
    np.add.at(table, (true.argmax(1), probability.argmax(1)), 1)
    table /= np.maximum(table.sum(1, keepdims=True), 1)
    axis.imshow(table, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(count, count):
        colour = "white" if table[row, column] > 0.5 else "black"
        text = f"{table[row, column]:.2f}"
        axis.text(column, row, text, ha="center", va="center", color=colour)
    axis.set_xticks(range(count), names)
    axis.set_yticks(range(count), names)
    axis.set(xlabel="most probable class", ylabel="true class", title="Classes, out of fold")


def draw_scatter(axis: Axes, name: str, true: np.ndarray, found: np.ndarray) -> None:
    """Draw predicted against true values of the samples of which both are known."""
    both = np.isfinite(true) & np.isfinite(found)
    axis.plot(true[both], found[both], ".", ms=3, alpha=0.5)
    if both.any():
        ends = [true[both].min(), true[both].max()]
        axis.plot(ends, ends, "--", color="0.5", lw=1)
    axis.set(xlabel=f"true {name}", ylabel=f"predicted {name}", title=f"{name}, out of fold")
    axis.grid(alpha=0.3)


def draw_shares(axis: Axes, name: str, true: np.ndarray, probability: np.ndarray) -> None:
    """Draw how the probabilities of a label are distributed, with and without it."""
    bins = np.linspace(0, 1, 31)
    for value, word in ((0, "without"), (1, "with")):
        chosen = probability[np.round(true) == value]
        axis.hist(chosen, bins, alpha=0.55, label=f"{word} ({len(chosen)})")
    axis.set(xlabel=f"probability of {name}", ylabel="samples", title=f"{name}, out of fold")
    axis.legend(loc="upper center")
