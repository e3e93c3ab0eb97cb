"""summary.png: learning curves, ROC, scores by class, calibration, and efficiency by SNR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.calibration import calibration_words, measure_reliability
from experiments.curve_figure import draw_curves, draw_loss, draw_nothing, make_figure, save_figure
from experiments.outputs_summary import draw_outputs
from experiments.scores import roc_corners
from experiments.targets import Outputs
from training.guessing import Guessing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNAL, NOISE = "#b2432f", "#4a6fa5"  # one colour per class, in every figure
FALSE_ALARMS = (0.1, 0.01, 0.001)  # false-alarm probabilities of the efficiency curves
FEWEST_ABOVE = 5  # noise samples above a threshold, or it is not known well enough to draw
TOO_FEW = f"fewer than {round(FEWEST_ABOVE / max(FALSE_ALARMS))} noise samples, or no signals"


@dataclass(frozen=True)
class SummaryPicture:
    """What every summary.png shows.

    Attributes:
        path: where it goes.
        title: of the whole.
        history: the rows of history.csv.
        metric: the name of the metric in it.
        guessing: what guessing scores, drawn as lines of chance; None for none.
    """

    path: Path
    title: str
    history: Sequence[dict[str, float]]
    metric: str
    guessing: Guessing | None = None

    def begin(self) -> tuple[Figure, np.ndarray]:
        """Return a figure of 2 x 3 panels and its axes, with loss and score in the first two."""
        figure = make_figure((17.5, 8.4), self.title)
        axes = figure.subplots(2, 3)
        if self.history:
            draw_loss(axes[0, 0], self.history, self.guessing)
            draw_curves(axes[0, 1], self.history, self.metric, self.guessing)
        else:
            for axis in axes[0, :2]:
                draw_nothing(axis, "no training history in this folder")
        return figure, axes


def draw_summary_of_outputs(
    picture: SummaryPicture, outputs: Outputs, true: np.ndarray, found: np.ndarray
) -> None:
    """Draw learning curves, and targets against outputs, into one PNG.

    Args:
        outputs: what the columns are.
        true, found: (n, outputs) each, of the out-of-fold rows.
    """
    figure, axes = picture.begin()
    draw_outputs(list(axes.flat[2:]), outputs, true, found)
    save_figure(figure, picture.path)


def draw_summary(
    picture: SummaryPicture,
    targets: np.ndarray,
    logits: np.ndarray,
    snr: np.ndarray | None,
    result: dict[str, Any],
) -> None:
    """Draw learning curves, ROC, score histograms, calibration and efficiency into one PNG.

    Args:
        targets, logits: (n,) each, of the out-of-fold rows.
        snr: (n,) network SNR, NaN for noise; None if it is not known.
        result: the content of summary.json.
    """
    figure, axes = picture.begin()
    both = "oof_auc" in result
    enough = both and snr is not None and has_efficiency(targets, snr)
    if both:
        draw_roc(axes[0, 2], targets, logits, result)
        draw_calibration(axes[1, 1], targets, logits)
    else:
        draw_nothing(axes[0, 2], "one class only: no ROC")
        draw_nothing(axes[1, 1], "one class only: no calibration")
    draw_histogram(axes[1, 0], targets, logits)
    if enough:
        draw_efficiency(axes[1, 2], targets, logits, snr)
    else:
        why = "no parameters.csv: the SNRs are unknown" if snr is None else TOO_FEW
        draw_nothing(axes[1, 2], why)
    save_figure(figure, picture.path)


def draw_calibration(axis: Axes, targets: np.ndarray, logits: np.ndarray) -> None:
    """Draw the share of signals against the predicted probability, in bins of equal counts."""
    found = measure_reliability(targets, logits)
    axis.plot([0, 1], [0, 1], "--", color="0.6", lw=1, label="probabilities that hold")
    # The interval of a share of 0 or 1 lies to one side of it alone.
    spread = np.maximum([found.share - found.low, found.high - found.share], 0)
    label = "out of fold, 95 % intervals"
    axis.errorbar(found.probability, found.share, spread, fmt="o-", ms=4, color=SIGNAL, label=label)
    axis.set(
        xlabel="predicted probability of a signal",
        ylabel="share of signals",
        title=f"Calibration ({calibration_words(found.gap, logits, targets)})",
        xlim=(0, 1),
        ylim=(-0.02, 1.02),
    )
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", fontsize=8)


def draw_roc(axis: Axes, targets: np.ndarray, logits: np.ndarray, result: dict[str, Any]) -> None:
    """Draw the ROC curve of the out-of-fold logits."""
    false_alarms, efficiency = roc_corners(targets, logits)
    label = f"AUC {result['oof_auc']:.4f}"
    if "oof_auc_error" in result:
        label += f" ± {result['oof_auc_error']:.4f}"
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
    """Draw how the logits of noise and of signals are distributed, over the middle 99.8 %."""
    bins = np.linspace(*np.percentile(logits, [0.1, 99.9]), 60) if len(logits) else 10
    for value, name, colour in ((0, "noise", NOISE), (1, "signal", SIGNAL)):
        chosen = logits[np.round(targets) == value]
        axis.hist(chosen, bins, color=colour, alpha=0.55, label=f"{name} ({len(chosen)})")
    axis.set(xlabel="logit", ylabel="samples", title="Scores by class, out of fold")
    # A fixed place: to find the best one, matplotlib compares every bar, which is slow and warns.
    axis.legend(loc="upper right")


def has_efficiency(targets: np.ndarray, snr: np.ndarray) -> bool:
    """Whether there is a signal of known SNR, and noise enough for one threshold."""
    noise, signals = np.round(targets) == 0, np.round(targets) == 1
    return bool(np.isfinite(snr[signals]).any() and noise.sum() * max(FALSE_ALARMS) >= FEWEST_ABOVE)


def draw_efficiency(
    axis: Axes, targets: np.ndarray, logits: np.ndarray, snr: np.ndarray, bins: int = 12
) -> None:
    """Draw the share of signals found against their SNR, at three false-alarm probabilities."""
    noise = np.sort(logits[np.round(targets) == 0])
    found = (np.round(targets) == 1) & np.isfinite(snr)
    edges = np.quantile(snr[found], np.linspace(0, 1, bins + 1))  # bins of equally many signals
    place = np.clip(np.searchsorted(edges, snr[found], side="right") - 1, 0, bins - 1)
    counts = np.maximum(np.bincount(place, minlength=bins), 1)
    centres = np.bincount(place, snr[found], minlength=bins) / counts
    for index, probability in enumerate(FALSE_ALARMS):
        if len(noise) * probability < FEWEST_ABOVE:
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
