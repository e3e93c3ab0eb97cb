"""summary.png: learning curves, ROC, scores, calibration, efficiency, and the worst samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.calibration import calibration_words, measure_reliability
from experiments.curve_figure import (
    draw_curves,
    draw_loss,
    draw_loss_by_step,
    draw_nothing,
    make_figure,
    save_figure,
)
from experiments.outputs_summary import draw_outputs
from experiments.scores import roc_corners
from experiments.signal_quantities import CHIRP_MASS, NETWORK_SNR
from experiments.strain_maps import (
    GROUPS,
    LOUDEST,
    LOWEST,
    OCTAVES_ABOVE,
    SHOWN,
    Sample,
    StrainMaps,
)
from experiments.targets import Outputs
from training.guessing import Guessing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNAL, NOISE = "#b2432f", "#4a6fa5"  # one colour per class, in every figure
FALSE_ALARMS = (0.1, 0.01, 0.001)  # false-alarm probabilities of the efficiency curves
ROW, MAP_TITLES = 4.3, 0.55  # in: the height of a row of panels, and of what stands above maps
LEFT, RIGHT = 0.035, 0.985  # margins, as shares of the width
TICKS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300, 500, 1000)
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
        points: the rows of loss_by_step.csv.
        matched: the score of matched filters on such samples; None where it is not known.
    """

    path: Path
    title: str
    history: Sequence[dict[str, float]]
    metric: str
    guessing: Guessing | None = None
    points: Sequence[dict[str, float]] = ()
    matched: float | None = None

    def begin(self, rows: int = 2) -> tuple[Figure, list[Axes]]:
        """Return a figure and the panels of its first two rows, with three learning curves drawn.

        Args:
            rows: of panels, four in each.
        """
        # By hand: a layout that is computed draws all panels once more.
        height = ROW * rows + (MAP_TITLES if rows > 2 else 0)
        figure = make_figure((23, height), self.title, layout=None)
        grid = figure.add_gridspec(
            2,
            4,
            left=LEFT,
            right=RIGHT,
            top=1 - 0.75 / height,
            bottom=1 - (2 * ROW - 0.55) / height,
            wspace=0.2,
            hspace=0.27,
        )
        axes = [figure.add_subplot(grid[place // 4, place % 4]) for place in range(8)]
        if self.history:
            draw_loss(axes[0], self.history, self.guessing)
            draw_loss_by_step(axes[1], self.points, self.guessing)
            draw_curves(axes[2], self.history, self.metric, self.guessing, self.matched)
        else:
            for axis in axes[:3]:
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
    draw_outputs(axes[3:], outputs, true, found)
    save_figure(figure, picture.path)


def draw_summary(
    picture: SummaryPicture,
    targets: np.ndarray,
    logits: np.ndarray,
    quantities: Mapping[str, np.ndarray],
    result: dict[str, Any],
    maps: StrainMaps,
) -> None:
    """Draw learning curves, ROC, scores, calibration, efficiency and the worst samples, one PNG.

    Args:
        targets, logits: (n,) each, of the out-of-fold rows.
        quantities: (n,) each, what is known of the signals, by name; see signal_quantities.py.
        result: the content of summary.json.
        maps: of the samples that the run was most wrong about; a third row, where there are any.
    """
    figure, axes = picture.begin(rows=2 if maps.note else 3)
    both = "oof_auc" in result
    if both:
        draw_roc(axes[3], targets, logits, result)
        draw_calibration(axes[5], targets, logits)
    else:
        draw_nothing(axes[3], "one class only: no ROC")
        draw_nothing(axes[5], "one class only: no calibration")
    draw_histogram(axes[4], targets, logits)
    for axis, name, what in ((axes[6], NETWORK_SNR, "SNRs"), (axes[7], CHIRP_MASS, "masses")):
        values = quantities.get(name)
        if values is None:
            draw_nothing(axis, f"no parameters.csv: the {what} are unknown")
        elif both and has_efficiency(targets, values):
            draw_efficiency(axis, targets, logits, values, name)
        else:
            draw_nothing(axis, TOO_FEW)
    if not maps.note:
        draw_maps(figure, maps)
    save_figure(figure, picture.path)


def draw_maps(figure: Figure, maps: StrainMaps) -> None:
    """Draw the samples that a run was most wrong about below the first two rows of a figure."""
    height = figure.get_figheight()
    top, bottom = (ROW - 0.3) / height, 0.55 / height
    grid = figure.add_gridspec(1, 2, left=LEFT, right=RIGHT, top=top, bottom=bottom, wspace=0.06)
    for column, (title, samples) in enumerate(zip(GROUPS, (maps.noise, maps.signals), strict=True)):
        if not samples:
            continue
        inner = grid[0, column].subgridspec(1, SHOWN, wspace=0.06)
        for place, (sample, of_detectors) in enumerate(samples):
            axis = figure.add_subplot(inner[0, place])
            draw_map(axis, sample, of_detectors, maps)
            if place:
                axis.set_yticks([])
                continue
            axis.annotate(
                f"{title}, out of fold: whitened strain, {LOWEST:g} Hz and {OCTAVES_ABOVE} octaves "
                f"up",
                (0, 1),
                (0, 36),  # above the titles of the maps, which have two lines
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=12,  # that of the titles of panels
            )


def draw_map(axis: Axes, sample: Sample, of_detectors: np.ndarray, maps: StrainMaps) -> None:
    """Draw the amplitude of whitened strain against time, a band for each detector.

    Args:
        of_detectors: (detectors, rows, columns), as `strain_maps.q_map` returns it.
    """
    count, rows, _ = of_detectors.shape
    # the first detector on top, each with its lowest frequency down
    picture = of_detectors[::-1].reshape(count * rows, -1)  # (detectors, rows, columns) -> 2-D
    seconds = maps.sampling.window if maps.sampling is not None else 1.0
    axis.imshow(
        picture, vmin=0, vmax=LOUDEST, origin="lower", aspect="auto", extent=(0, seconds, 0, count)
    )
    for border in range(1, count):
        axis.axhline(border, color="white", lw=1.5)
    names = maps.sampling.detectors if maps.sampling is not None else range(count)
    axis.set_yticks(np.arange(count) + 0.5, [str(name) for name in reversed(list(names))])
    # none at the ends, where those of two maps would meet
    axis.set_xticks(seconds * np.array([0.25, 0.5, 0.75]))
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("s", labelpad=1)
    snr = "" if sample.snr is None else f", SNR {sample.snr:.1f}"
    label = f"{sample.name}\nlogit {sample.score:.2f}{snr}"
    axis.set_title(label, fontsize=9, parse_math=False)


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
    counts = [patch.get_height() for patch in axis.patches]
    # Long tails, as a logarithm of a likelihood ratio has: one bin would hide all others.
    if counts and max(counts) > len(logits) / 4:
        axis.set_yscale("log")
    # A fixed place: to find the best one, matplotlib compares every bar, which is slow and warns.
    axis.legend(loc="upper right")


def has_efficiency(targets: np.ndarray, values: np.ndarray) -> bool:
    """Whether a quantity is known of a signal, and there is noise enough for one threshold."""
    noise, signals = np.round(targets) == 0, np.round(targets) == 1
    return bool(
        np.isfinite(values[signals]).any() and noise.sum() * max(FALSE_ALARMS) >= FEWEST_ABOVE
    )


def draw_efficiency(
    axis: Axes,
    targets: np.ndarray,
    logits: np.ndarray,
    values: np.ndarray,
    name: str = NETWORK_SNR,
    bins: int = 12,
) -> None:
    """Draw the share of signals found against a quantity, at three false-alarm probabilities.

    Args:
        values: (n,) the quantity, NaN where it is not known.
        name: of the quantity, with its unit.
    """
    noise = np.sort(logits[np.round(targets) == 0])
    found = (np.round(targets) == 1) & np.isfinite(values)
    known = values[found]
    edges = np.quantile(known, np.linspace(0, 1, bins + 1))  # bins of equally many signals
    place = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, bins - 1)
    counts = np.maximum(np.bincount(place, minlength=bins), 1)
    centres = np.bincount(place, known, minlength=bins) / counts
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
    title = f"Efficiency against {name.split(',')[0]}"
    axis.set(xlabel=name, ylabel="efficiency", title=title, ylim=(0, 1.02))
    if known.min() > 0:
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        ticks = [tick for tick in TICKS if low <= tick <= high]
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=8)
