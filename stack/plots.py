"""The figures of a stack that `submission.ipynb` shows, one function for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.scores import roc_corners
from experiments.summary_figure import NOISE, SIGNAL
from runtime.errors import UserError
from stack.blend import StackResult
from stack.report import weight_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROC_POINTS = 2000  # drawn, of the hundreds of thousands of corners of a full curve


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def plot_scores(stack: StackResult) -> Figure:
    """Draw the AUC of every model and method: a dot per fold, the mean with its standard error."""
    columns = [
        *((column, NOISE) for column in stack.models.values()),
        *((column, SIGNAL) for column in stack.methods.values()),
    ]
    columns.sort(key=lambda pair: pair[0].score.mean)
    figure, (axis,) = new_figure(9, 1.2 + 0.26 * len(columns))
    for place, (column, colour) in enumerate(columns):
        score = column.score
        axis.plot(score.folds, [place] * len(score.folds), ".", color=colour, alpha=0.35)
        axis.errorbar(score.mean, place, xerr=score.error, fmt="o", color=colour, capsize=3)
    names = [
        column.name + (" (submitted)" if column is stack.submitted else "") for column, _ in columns
    ]
    axis.set_yticks(range(len(names)), names)
    axis.set(
        xlabel="AUC, out of sample",
        ylim=(-0.7, len(names) - 0.3),
        title="Single models (blue) and methods (red): folds, mean, bootstrap standard error",
    )
    axis.grid(alpha=0.3, axis="x")
    return figure


def plot_correlations(stack: StackResult) -> Figure:
    """Draw Spearman's rank correlation of the models, on noise and on signals.

    Ranks are those within each fold (see `stack.features.Features`). Within one class the target
    adds nothing to the correlation: it shows which samples the models confuse alike.
    """
    data, ranks = stack.data, stack.features.train("rank")
    figure, axes = new_figure(3 + 0.75 * len(data.names), 1.6 + 0.36 * len(data.names), 2)
    matrices = [  # for a single model corrcoef returns a number
        np.atleast_2d(np.corrcoef(ranks[data.targets == value], rowvar=False)) for value in (0, 1)
    ]
    low = min(0.9, float(np.nanmin(matrices)))
    for axis, matrix, kind in zip(axes, matrices, ("noise", "signals"), strict=True):
        image = axis.imshow(matrix, cmap="viridis", vmin=low, vmax=1)
        for (row, column), entry in np.ndenumerate(matrix):
            axis.text(
                column,
                row,
                f"{entry:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if entry < 0.4 * low + 0.6 else "black",
            )
        axis.set_xticks(range(len(data.names)), data.names, rotation=90, fontsize=8)
        axis.set_yticks(range(len(data.names)), data.names, fontsize=8)
        axis.set_title(f"Rank correlation on {kind}")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def plot_weights(stack: StackResult, method: str | None = None) -> Figure:
    """Draw a method's weights: the mean over the fits and their range.

    Args:
        method: default: the chosen one or, if that has no fitted weights, the best that has.

    Raises:
        UserError: the method has no weights.
    """
    method = method or weighted_method(stack)
    table = weight_frame(stack, method)
    if table is None:
        raise UserError(f"the method {method!r} has no weights to draw: name a linear one")
    of_fold = table.filter(like="fold").to_numpy()
    figure, (axis,) = new_figure(9, 1.2 + 0.28 * len(table))
    reach = np.stack([table["mean"] - of_fold.min(1), of_fold.max(1) - table["mean"]])
    place = np.arange(len(table))[::-1]
    colours = [SIGNAL if value >= 0 else NOISE for value in table["mean"]]
    axis.barh(place, table["mean"], xerr=np.maximum(reach, 0), color=colours, alpha=0.8, capsize=3)
    axis.axvline(0, color="0.3", lw=1)
    axis.set_yticks(place, table["model"])
    axis.set(xlabel="weight", title=f"Weights of {method}: mean and range over the folds' fits")
    axis.grid(alpha=0.3, axis="x")
    return figure


def weighted_method(stack: StackResult) -> str:
    """Return the chosen method if it fits weights, else the best one that does, else the mean."""
    fitting = [
        name
        for name, fit in stack.fits.items()
        if fit.weights is not None and not name.startswith("mean")
    ]
    if stack.method in fitting or not fitting:
        return stack.method if fitting else "mean"
    return max(fitting, key=lambda name: stack.methods[name].score.mean)


def plot_roc_curves(stack: StackResult) -> Figure:
    """Draw the ROC of the chosen method, the plain mean and the best single model."""
    data = stack.data
    best = stack.best_model.name
    curves = {
        stack.method: (stack.fit.out_of_fold, SIGNAL, "-"),
        "mean": (stack.fits["mean"].out_of_fold, "0.3", "--"),
        best: (data.out_of_fold[:, data.names.index(best)], NOISE, "-"),
    }
    if stack.method == "mean":  # one curve, drawn dashed
        curves["mean"] = (stack.fit.out_of_fold, SIGNAL, "--")
    figure, (linear, logarithmic) = new_figure(11, 4.6, 2)
    for name, (column, colour, style) in curves.items():
        submitted = " (submitted)" if name == stack.submitted.name else ""
        false_alarms, efficiency = roc_corners(data.targets, column)
        # Points at equal distances along the curve, so that its steep start keeps its shape on
        # the linear axis; the first corners are all kept, for the logarithmic one.
        arc = np.concatenate([[0], np.cumsum(np.hypot(np.diff(false_alarms), np.diff(efficiency)))])
        spread = np.searchsorted(arc, np.linspace(0, arc[-1], ROC_POINTS))
        kept = np.unique([*spread, *range(min(ROC_POINTS, len(arc)))])
        for axis in (linear, logarithmic):
            axis.plot(
                false_alarms[kept],
                efficiency[kept],
                style,
                color=colour,
                label=name + submitted,
                lw=1.3,
            )
    noise = int((data.targets == 0).sum())
    linear.plot([0, 1], [0, 1], ":", color="0.6")
    linear.set(xlim=(0, 1), ylim=(0, 1), title="ROC, out of fold")
    logarithmic.set(
        xscale="log", xlim=(max(1 / noise, 1e-5), 1), title="The same at few false alarms"
    )
    for axis in (linear, logarithmic):
        axis.set(xlabel="false-alarm probability", ylabel="efficiency")
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right")
    return figure


def plot_calibration(stack: StackResult, bins: int = 20) -> Figure:
    """Draw the share of signals at each score, and how the scores are distributed.

    Every bin holds the same number of samples; bars are binomial standard errors.
    """
    (column, test), targets = stack.submitted_probabilities(), stack.data.targets
    parts = np.array_split(np.argsort(column, kind="stable"), min(bins, len(column)))
    mean_score = np.array([column[part].mean() for part in parts])
    share = np.array([targets[part].mean() for part in parts])
    counts = np.array([len(part) for part in parts])
    figure, (axis, distribution) = new_figure(11, 4.6, 2)
    error = np.sqrt(share * (1 - share) / counts)
    axis.plot([0, 1], [0, 1], ":", color="0.6")
    axis.errorbar(mean_score, share, error, fmt="o", ms=4, color=SIGNAL, capsize=2)
    axis.set(
        xlabel=f"score of {stack.submitted.name}",
        ylabel="share of signals",
        xlim=(0, 1),
        ylim=(0, 1),
        title="Calibration, out of fold",
    )
    axis.grid(alpha=0.3)
    edges = np.linspace(0, 1, 61)
    for value, name, colour in ((0, "noise", NOISE), (1, "signal", SIGNAL)):
        distribution.hist(
            column[targets == value], edges, color=colour, alpha=0.55, label=f"{name}, out of fold"
        )
    scale = len(column) / len(test)
    distribution.hist(
        test,
        edges,
        weights=np.full(len(test), scale),
        histtype="step",
        color="0.2",
        label="test, to the same number",
    )
    distribution.set(xlabel="score", ylabel="samples", title="Scores by class, and of the test set")
    # A fixed place: to find the best one, matplotlib compares every bar, which is slow and warns.
    distribution.legend(loc="upper right")
    return figure


def plot_left_out(table: pd.DataFrame) -> Figure:
    """Draw what each model adds to the stack; the table is that of `blend.leave_one_out`."""
    table = table.iloc[::-1]
    figure, (axis,) = new_figure(9, 1.2 + 0.28 * len(table))
    if table.empty:
        axis.axis("off")
        axis.text(0.5, 0.5, "one model: nothing can be left out", ha="center", color="0.4")
        return figure
    place = np.arange(len(table))
    # The percentile interval of a few resamples may exclude the difference; a bar has no negative
    # length.
    reach = np.maximum([table["adds"] - table["low"], table["high"] - table["adds"]], 0)
    axis.errorbar(table["adds"], place, xerr=reach, fmt="o", color=SIGNAL, capsize=3)
    axis.axvline(0, color="0.3", lw=1)
    axis.set_yticks(place, table["model"])
    axis.set(
        xlabel="AUC of the stack − AUC of the stack without the model",
        title="What each model adds, with 95 % intervals",
    )
    axis.grid(alpha=0.3, axis="x")
    return figure
