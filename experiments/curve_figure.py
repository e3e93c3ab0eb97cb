"""Learning curves: the panels of loss and score of summary.png, and fold<k>.png of one fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configuration.config_class import ConfigMeta
from experiments.objectives import build_objective
from runtime.files import atomic_path
from training.guessing import Guessing, score_guessing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, float]]
WIDE = 20.0  # largest loss over smallest, above which the axis is logarithmic
CHANCE = "0.35"  # the grey of lines of chance


def guessing_of(config: ConfigMeta, true: np.ndarray) -> Guessing | None:
    """Return what guessing scores on the samples of a run; None where that is not defined.

    Args:
        true: (n, outputs), the targets of validated samples.
    """
    import torch

    if not len(true):
        return None
    objective = build_objective(config, ())
    targets = torch.from_numpy(true.astype(np.float32))
    return score_guessing(targets, objective.criterion, objective.metric)


def draw_fold(
    path: Path,
    title: str,
    history: History,
    metric: str,
    guessing: Guessing | None,
    points: History = (),
    matched: float | None = None,
) -> None:
    """Draw losses, score, gradients, learning rate and speed of one fold into one PNG.

    Args:
        path: where it goes.
        title: of the whole.
        history: scores of each epoch, with `fold`.
        metric: the name of the metric in it.
        guessing: whose lines are drawn; None for none.
        points: the training loss by step, with `fold`.
        matched: the score of matched filters on such samples; None where it is not known.
    """
    figure = make_figure((17.5, 8.4), title)
    axes = figure.subplots(2, 3)
    draw_loss(axes[0, 0], history, guessing)
    draw_loss_by_step(axes[0, 1], points, guessing)
    draw_curves(axes[0, 2], history, metric, guessing, matched)
    draw_gradients(axes[1, 0], history)
    draw_learning_rate(axes[1, 1], history)
    draw_speed(axes[1, 2], history)
    save_figure(figure, path)


def make_figure(
    size: tuple[float, float], title: str, layout: str | None = "constrained"
) -> Figure:
    """Return an empty figure.

    Args:
        size: inches.
        title: of the whole.
        layout: how the panels find their places; None leaves that to the caller.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    # The name of a run may hold a dollar sign, which would begin a formula.
    figure.suptitle(title, fontsize=14, parse_math=False)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


# --- panels ----------------------------------------------------------------------------------


def draw_curves(
    axis: Axes,
    history: History,
    metric: str,
    guessing: Guessing | None = None,
    matched: float | None = None,
) -> None:
    """Draw the validation metric of each fold, that of the training dotted, and orientation.

    Args:
        guessing: whose score is drawn as a line; None for none.
        matched: the score of matched filters on such samples; None where it is not known.
    """
    draw_pair(axis, history, "metric")
    name = "AUC" if metric == "auc" else metric.replace("_", " ")
    axis.set(xlabel="epoch", ylabel=name, title="Score (dotted: training)")
    if guessing is not None and np.isfinite(guessing.score):
        draw_chance(axis, guessing.score)
    if matched is not None:
        axis.axhline(matched, color=CHANCE, lw=1, ls="-.", label=f"matched filters: {matched:.3f}")
    if history:
        axis.legend(loc="lower right", fontsize=8)  # curves of an AUC rise to the right


def draw_loss(axis: Axes, history: History, guessing: Guessing | None = None) -> None:
    """Draw the validation loss of each fold, that of the training dotted, and that of guessing."""
    losses = draw_pair(axis, history, "loss")
    axis.set(xlabel="epoch", ylabel="loss", title="Loss (dotted: training)")
    if guessing is not None and np.isfinite(guessing.loss):
        draw_chance(axis, guessing.loss)
    scale_losses(axis, losses)
    if history:
        axis.legend(loc="upper right", fontsize=8)  # curves of a loss fall to the right


def draw_loss_by_step(axis: Axes, points: History, guessing: Guessing | None = None) -> None:
    """Draw the training loss of each fold within its epochs, and the loss of guessing.

    Args:
        points: the rows of loss_by_step.csv.
    """
    axis.set(xlabel="epoch", ylabel="training loss", title="Training loss by step")
    if not points:
        draw_nothing(axis, "no loss by step: a run of an earlier version")
        return
    for rows, colour, label in curves_of(points):
        losses = [row.get("train_loss", np.nan) for row in rows]
        axis.plot([row["epoch"] for row in rows], losses, color=colour, lw=0.8, label=label)
    if guessing is not None and np.isfinite(guessing.loss):
        draw_chance(axis, guessing.loss)
    losses = np.array([row.get("train_loss", np.nan) for row in points])
    scale_losses(axis, losses[np.isfinite(losses)])
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    axis.legend(loc="upper right", fontsize=8)


def scale_losses(axis: Axes, losses: np.ndarray) -> None:
    """Choose a logarithmic axis where a run diverged: its losses of hundreds would hide others."""
    if losses.size and losses.min() > 0 and losses.max() > WIDE * losses.min():
        axis.set_yscale("log")


def draw_pair(axis: Axes, history: History, quantity: str) -> np.ndarray:
    """Draw valid_<quantity> and train_<quantity> of each fold; return what is finite of them."""
    drawn = []
    for rows, colour, label in curves_of(history):
        epochs = [row["epoch"] for row in rows]
        valid = np.array([row.get(f"valid_{quantity}", np.nan) for row in rows])
        train = np.array([row.get(f"train_{quantity}", np.nan) for row in rows])
        axis.plot(epochs, valid, "o-", color=colour, ms=3, label=label)
        axis.plot(epochs, train, ":", color=colour, lw=1)
        drawn += [valid, train]
    count_epochs(axis)
    axis.grid(alpha=0.3)
    values = np.concatenate(drawn) if drawn else np.empty(0)
    return values[np.isfinite(values)]


def count_epochs(axis: Axes) -> None:
    """Put ticks at whole epochs only, also where there is a single one."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def curves_of(history: History) -> list[tuple[list[Mapping[str, float]], str, str | None]]:
    """Return rows, colour and label of each fold, and where there are seeds, of each seed.

    Folds keep their colours from seed to seed; only those of the first seed have a label.
    """
    keys = sorted({(int(row["fold"]), int(row.get("seed", 0))) for row in history})
    found = []
    for fold, seed in keys:
        rows = [
            row for row in history if (int(row["fold"]), int(row.get("seed", 0))) == (fold, seed)
        ]
        found.append((rows, f"C{fold}", f"fold {fold}" if seed == keys[0][1] else None))
    return found


def draw_chance(axis: Axes, value: float) -> None:
    """Draw the line of a network that gives every sample the same logit."""
    axis.axhline(value, color=CHANCE, lw=1, ls="--", label=f"guessing: {value:.3f}")


def draw_gradients(axis: Axes, history: History) -> None:
    """Draw the median gradient norm before clipping, and the share of clipped steps."""
    axis.set(xlabel="epoch", ylabel="gradient norm", title="Gradients before clipping (median)")
    if not any("gradient_norm" in row for row in history):
        draw_nothing(axis, "no gradients in this history")
        return
    share = axis.twinx()
    share.set(ylabel="share of clipped steps", ylim=(-0.02, 1.02))
    norms = []
    for rows, colour, _ in curves_of(history):
        epochs = [row["epoch"] for row in rows]
        norms += [row.get("gradient_norm", np.nan) for row in rows]
        axis.plot(epochs, norms[-len(rows) :], "o-", color=colour, ms=3, label="norm")
        clipped = [row.get("clipped_steps", np.nan) for row in rows]
        share.plot(epochs, clipped, "--", color="0.5", lw=1, label="clipped steps (right)")
    if np.nanmin([*norms, np.inf]) > 0:  # NaN where no gradient was finite
        axis.set_yscale("log")
    count_epochs(axis)
    axis.grid(alpha=0.3)
    lines = [*axis.lines, *share.lines]
    axis.legend(lines, [str(each.get_label()) for each in lines], loc="upper right", fontsize=8)


def draw_learning_rate(axis: Axes, history: History) -> None:
    """Draw the learning rate at the end of each epoch."""
    axis.set(xlabel="epoch", ylabel="learning rate", title="Learning rate")
    if draw_positive(axis, history, "learning_rate", "no learning rate in this history"):
        axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))


def draw_speed(axis: Axes, history: History) -> None:
    """Draw how many samples were trained in a second, which falls where a device is shared."""
    axis.set(xlabel="epoch", ylabel="samples a second", title="Speed of the training")
    draw_positive(axis, history, "samples_per_second", "no speed in this history")


def draw_positive(axis: Axes, history: History, key: str, missing: str) -> bool:
    """Draw a number above zero of each epoch, and return True; where there is none, say so."""
    if not any(key in row for row in history):
        draw_nothing(axis, missing)
        return False
    for rows, colour, _ in curves_of(history):
        values = [row.get(key, np.nan) for row in rows]
        axis.plot([row["epoch"] for row in rows], values, "o-", color=colour, ms=3)
    count_epochs(axis)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    return True


def draw_nothing(axis: Axes, why: str) -> None:
    """Say in an empty panel why it is empty."""
    axis.axis("off")
    axis.text(0.5, 0.5, why, ha="center", va="center", color="0.4", transform=axis.transAxes)
