"""Plots of recorded detectors: efficiency against SNR, and ROC curves, of a few of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection.scores import FALSE_ALARMS, detectors_by_auc, format_with_error
from runtime.files import atomic_path

MOST_DRAWN = 7  # more curves cannot be told apart; the table has all
# Drawn first where they are there: the references, and a network of each kind.
PREFERRED = (
    "known waveform and time",
    "near-optimal, 180 templates",
    "wave_07",
    "matched filter, log-mean-exp",
    "spec_01",
    "demo_spec",
    "demo",
)
# No two share a colour, a marker or a pattern with a neighbour. The colours are those of Okabe and
# Ito 2008, which people who see few colours tell apart too; the yellow is left out.
STYLES = (
    ("#000000", "s", (0, (1, 1.5))),
    ("#D55E00", "o", "-"),
    ("#0072B2", "D", (0, (5, 1.5))),
    ("#009E73", "v", "-"),
    ("#CC79A7", "^", (0, (5, 1.5, 1, 1.5))),
    ("#56B4E9", "P", "-"),
    ("#7F7F7F", "X", (0, (3, 1.5))),
)
TICKS = (4, 5, 6, 8, 10, 15, 20)  # network SNR
Detectors = Sequence[tuple[str, dict[str, Any]]]


def draw_detection_plots(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw efficiency against SNR, and the ROC curves; return the files."""
    paths = [folder / "detection-efficiency.png", folder / "detection-roc.png"]
    drawn, left = choose_detectors(results)
    draw_efficiency_of_detectors(drawn, left, paths[0])
    draw_roc_of_detectors(drawn, left, paths[1])
    return paths


def choose_detectors(results: Mapping[str, Any]) -> tuple[Detectors, int]:
    """Return the detectors to draw by AUC, the best first, and how many others there are.

    Of too many the preferred ones are drawn, and beside them the best of those kinds, the part of a
    name before its comma, that are not drawn yet.
    """
    every = detectors_by_auc(results)
    if len(every) <= MOST_DRAWN:
        return every, 0
    chosen = [name for name in PREFERRED if name in dict(every)]
    kinds = {name.split(",")[0] for name in chosen}
    for name, _ in every:
        if len(chosen) < MOST_DRAWN and name.split(",")[0] not in kinds:
            chosen.append(name)
            kinds.add(name.split(",")[0])
    return [item for item in every if item[0] in chosen], len(every) - len(chosen)


def draw_efficiency_of_detectors(detectors: Detectors, left: int, path: Path) -> None:
    """One panel for each false-alarm probability, one line for each detector, with error bars.

    Args:
        detectors: name and record of each, the best first.
        left: how many are not drawn.
        path: where the figure goes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.8), layout="constrained")
    widths = [1.0] * (len(FALSE_ALARMS) - 1) + [1.9]  # the last one has the names
    axes = figure.subplots(1, len(FALSE_ALARMS), sharey=True, width_ratios=widths)
    for axis, fpr in zip(axes, FALSE_ALARMS, strict=True):
        for place, (_, entry) in enumerate(detectors):
            colour, marker, pattern = STYLES[place]
            found = [point["efficiencies"][f"{fpr:g}"] for point in entry["curve"]]
            lines = axis.errorbar(
                [point["mean_snr"] for point in entry["curve"]],
                [each["efficiency"] for each in found],
                [each["error"] for each in found],
                marker=marker,
                linestyle=pattern,
                color=colour,
                markersize=4,
                linewidth=1.4,
                elinewidth=0.7,
            )
            lines.lines[0].set_label(detectors[place][0])
        axis.set_title(f"false-alarm probability {fpr:g}", fontsize=10)
        axis.set_xlabel("network SNR")
        axis.set_xscale("log")
        axis.set_xticks(TICKS, [str(tick) for tick in TICKS])
        style_efficiency_axis(axis)
    axes[0].set_ylabel("efficiency: share of signals found")
    # Room for the names beside the curves, on both sides of them.
    axes[-1].set_xlim(0.5, 60)
    name_curves(axes[-1], detectors, f"{FALSE_ALARMS[-1]:g}")
    if left:
        note = f"{left} other detectors are in the table."
        axes[-1].text(0.99, 0.02, note, transform=axes[-1].transAxes, ha="right", fontsize=8)
    save_figure(figure, path)


def name_curves(axis: Any, detectors: Detectors, fpr: str) -> None:
    """Write the name of each detector beside its curve, joined to it at a height of its own.

    The better half stands left of the curves, the other half right of them, so that no line to a
    name crosses more curves than it must.

    Args:
        fpr: the false-alarm probability, as records name it.
    """
    left = (len(detectors) + 1) // 2
    for place, (name, entry) in enumerate(detectors):
        is_left = place < left
        # From high to low, so that names are in the order of the curves.
        rank, count = (place, left) if is_left else (place - left, len(detectors) - left)
        ends = (0.93, 0.5) if is_left else (0.6, 0.2)
        height = np.linspace(*ends, count)[rank]
        snr = [point["mean_snr"] for point in entry["curve"]]
        found = [point["efficiencies"][fpr]["efficiency"] for point in entry["curve"]]
        at = crossing(np.array(snr), np.array(found), float(height))
        axis.annotate(
            name,
            xy=at,
            xytext=(0.55, height) if is_left else (22.0, height),
            va="center",
            ha="left",
            fontsize=8,
            color=STYLES[place][0],
            arrowprops={"arrowstyle": "-", "color": STYLES[place][0], "lw": 0.6, "alpha": 0.7},
        )


def crossing(snr: np.ndarray, found: np.ndarray, height: float) -> tuple[float, float]:
    """Return the point at which a curve first reaches a height; its last one if it never does."""
    above = np.flatnonzero(found >= height)
    if not len(above):
        return float(snr[-1]), float(found[-1])
    k = int(above[0])
    if k == 0:
        return float(snr[0]), float(found[0])
    share = (height - found[k - 1]) / (found[k] - found[k - 1])
    # Lines between points are straight on the logarithmic axis.
    return float(snr[k - 1] * (snr[k] / snr[k - 1]) ** share), height


def draw_roc_of_detectors(detectors: Detectors, left: int, path: Path) -> None:
    """Draw the ROC curves on a logarithmic axis; arguments as in the efficiencies' figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5), layout="constrained")
    axis = figure.subplots()
    for place, (name, entry) in enumerate(detectors):
        x, y = zip(*entry["roc"], strict=True)
        colour, _, pattern = STYLES[place]
        label = f"{name}: {format_with_error(entry['auc'], entry['auc_error'])}"
        # the recorded points end before 1, where every ROC curve ends
        axis.plot([*x, 1], [*y, 1], color=colour, linestyle=pattern, linewidth=1.4, label=label)
    axis.set_xscale("log")
    axis.set_xlabel("false-alarm probability")
    axis.set_ylabel("efficiency: share of signals found")
    style_efficiency_axis(axis)
    title = "AUC" if not left else f"AUC ({left} other detectors are in the table)"
    axis.legend(fontsize=8, title=title, title_fontsize=8, loc="lower right", handlelength=3.5)
    save_figure(figure, path)


def style_efficiency_axis(axis: Any) -> None:
    axis.set_ylim(0, 1.02)
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=8)
    axis.minorticks_off()


def save_figure(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        # without matplotlib's version in it, so that the same figure is the same file
        figure.savefig(temporary, dpi=100, metadata={"Software": None})
