"""The picture of the demo: how good the network is, and what it finds in real strain."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demo.comparison import Comparison, Figure
from demo.event import MERGER, SearchFinding
from experiments.summary_figure import NOISE, SIGNAL
from physics.observation import Observation
from runtime.files import atomic_path
from search.plots import draw_time_frequency_map
from search.result import WhitenedStrain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPTIMUM = "0.35"
SNR_EDGES = (3.7, 4.5, 5.5, 7.0, 9.0, 12.0, 16.0, 27.0)  # of the groups of signals
FALSE_ALARM = 0.01  # probability
FEWEST = 5  # signals of a group, and noise samples above the threshold


def draw_demo(
    path: Path,
    title: str,
    comparison: Comparison,
    finding: SearchFinding,
    whitened: WhitenedStrain,
    observation: Observation,
) -> None:
    """Draw the demo's result into one PNG.

    Above, on simulated samples: the AUC of the network, of matched filters and of the optimum, and
    the share of signals that are found against their SNR. Below, in real strain: the triggers
    against time, and the loudest one as a map of time and frequency of each detector.

    Args:
        path: where it goes.
        title: of the whole.
        comparison: of the test samples.
        finding: of the search.
        whitened: strain around the loudest trigger.
        observation: of the network.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(12, 8.4), layout="constrained")
    FigureCanvasAgg(drawing)
    drawing.suptitle(title, fontsize=14, parse_math=False)
    rows = drawing.add_gridspec(2, 1)
    above = rows[0].subgridspec(1, 2)
    draw_aucs(drawing.add_subplot(above[0]), comparison)
    draw_shares(drawing.add_subplot(above[1]), comparison)
    maps = len(whitened.strain)
    below = rows[1].subgridspec(1, 1 + maps, width_ratios=[maps, *(1 for _ in range(maps))])
    draw_triggers(drawing.add_subplot(below[0]), finding)
    for place, name in enumerate(whitened.strain, 1):
        axis = drawing.add_subplot(below[place])
        draw_time_frequency_map(axis, whitened, name, finding.time, observation)
        axis.set_title(f"{'GW150914' if finding.is_found else 'The loudest'} in {name}, whitened")
        if place > 1:
            axis.set_ylabel("")
    with atomic_path(path) as temporary:
        drawing.savefig(temporary, dpi=110)


def rows_of_aucs(comparison: Comparison) -> list[tuple[str, Figure, str]]:
    """Return what is compared, from the lowest place of the panel: name, figure and colour."""
    rows = [("this network", comparison.figure(comparison.network), SIGNAL)]
    if comparison.matched_filter is not None:
        figure = comparison.figure(comparison.matched_filter)
        rows.insert(0, ("matched filters", figure, NOISE))
    if comparison.optimum is not None:
        rows.append(("near-optimal", comparison.optimum, OPTIMUM))
    return rows


def draw_aucs(axis: Axes, comparison: Comparison) -> None:
    """Draw the AUCs with their errors, one above the other."""
    rows = rows_of_aucs(comparison)
    for place, (_, figure, colour) in enumerate(rows):
        axis.errorbar(
            figure.auc,
            place,
            xerr=figure.error or 0.0,
            fmt="o",
            ms=9,
            lw=2,
            capsize=5,
            color=colour,
        )
        axis.annotate(
            str(figure),
            (figure.auc, place),
            xytext=(0, 11),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=11,
        )
    names = [f"{name}\n{figure.samples:,} samples" for name, figure, _ in rows]
    if comparison.optimum is not None:
        names[-1] = names[-1].replace("samples", "other samples")
    axis.set_yticks(range(len(rows)), names)
    axis.set(
        ylim=(-0.6, len(rows) - 0.3),
        xlabel="AUC: how often a signal scores above noise",
        title="How good? Signals among noise, simulated",
    )
    axis.margins(x=0.35)
    axis.grid(alpha=0.3, axis="x")


def draw_shares(axis: Axes, comparison: Comparison) -> None:
    """Draw the share of signals that score more than all but 1 % of the noise, by their SNR."""
    signals, noise = comparison.targets == 1, comparison.targets == 0
    shown = [("this network", comparison.network, SIGNAL, "o-")]
    if comparison.matched_filter is not None:
        shown.insert(0, ("matched filters", comparison.matched_filter, NOISE, "s--"))
    enough = noise.sum() * FALSE_ALARM >= FEWEST
    for name, scores, colour, marks in shown if enough else ():
        found = scores > np.quantile(scores[noise], 1 - FALSE_ALARM)
        centres, shares, errors = [], [], []
        for low, high in itertools.pairwise(SNR_EDGES):
            inside = signals & (comparison.snr >= low) & (comparison.snr < high)
            count = int(inside.sum())
            if count < FEWEST:
                continue
            share = float(found[inside].mean())
            centres.append(float(comparison.snr[inside].mean()))
            shares.append(share)
            errors.append((share * (1 - share) / count) ** 0.5)
        axis.errorbar(centres, shares, errors, fmt=marks, ms=5, color=colour, label=name)
    title = "What is found, at one false alarm in 100 samples of noise"
    axis.set(xlabel="network SNR of the signal", ylabel="share found", ylim=(0, 1.04), title=title)
    if not enough:
        axis.text(
            0.5,
            0.5,
            "too few samples",
            ha="center",
            va="center",
            color="0.4",
            transform=axis.transAxes,
        )
        return
    axis.set_xscale("log")
    ticks = [4, 5, 6, 8, 10, 15, 20]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")


def draw_triggers(axis: Axes, finding: SearchFinding) -> None:
    """Draw all triggers against time, the loudest ones with their scores."""
    times, scores = finding.times - finding.start, finding.scores
    axis.vlines(times, 0, scores, color=NOISE, lw=1.5)
    axis.plot(times, scores, "o", ms=5, color=NOISE)
    if len(times):
        axis.vlines(times[0], 0, scores[0], color=SIGNAL, lw=2)
        axis.plot(times[0], scores[0], "o", ms=9, color=SIGNAL)
        name = "GW150914" if finding.is_found else "the loudest"
        # to the side where there is more room
        side = -1 if times[0] > (finding.end - finding.start) / 2 else 1
        axis.annotate(
            f"{name}: {scores[0]:.1f}\nGPS {finding.time:.2f}",
            (times[0], scores[0]),
            xytext=(10 * side, 0),
            textcoords="offset points",
            ha="right" if side < 0 else "left",
            va="center",
            color=SIGNAL,
            fontsize=11,
        )
    if len(times) > 1:
        axis.annotate(
            f"the next: {scores[1]:.1f}",
            (times[1], scores[1]),
            xytext=(0, 10),
            textcoords="offset points",
            ha="right" if times[1] > (finding.end - finding.start) / 2 else "left",
            color=NOISE,
            fontsize=11,
        )
    axis.axvline(MERGER - finding.start, color="0.7", ls=":", lw=1, zorder=0)
    axis.axhline(0, color="0.6", lw=0.8)
    highest, lowest = scores.max(initial=10), scores.min(initial=0)
    axis.set_yscale("symlog", linthresh=10)
    axis.set(
        xlim=(0, finding.end - finding.start),
        ylim=(lowest - 1.5, 2.2 * highest),
        xlabel=f"s after GPS {finding.start:.0f}",
        ylabel="score (log-likelihood ratio)",
        title=f"Found? {finding.end - finding.start:.0f} s of real strain of both LIGO detectors",
    )
    axis.grid(alpha=0.3)
