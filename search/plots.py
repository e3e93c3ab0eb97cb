"""The picture of a search: scores against time, candidates against chance, the loudest ones."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.summary import NOISE, SIGNAL
from physics.constants import MERGER_TIME, SAMPLE_RATE, WINDOW_SECONDS
from search.search import ENVELOPE, HISTOGRAM, Candidate, Outcome
from spectrograms.wavelets import ComplexMorletCWT

BAND = (20.0, 512.0)  # Hz
BEFORE, AFTER = 0.45, 0.25  # s around the merger that are drawn
FEW = 400  # windows up to which each is drawn as a point


def draw(outcome: Outcome, title: str) -> Figure:
    """Return the figure of a search.

    Above, the loudest score of every piece of time, and how many candidates are louder than a
    score, beside the number expected of chance from the slides. Below, a row for each of the
    loudest candidates and a column for each detector: the wavelet transform of the whitened strain.
    """
    shown = [candidate for candidate in outcome.candidates if candidate.whitened]
    figure = Figure(figsize=(11, 4.2 + 2.6 * len(shown)), layout="constrained")
    rows = figure.add_gridspec(1 + len(shown), 1, height_ratios=[1.4, *(1.0 for _ in shown)])
    above = rows[0].subgridspec(1, 2, width_ratios=[2, 1])
    draw_scores(figure.add_subplot(above[0]), outcome)
    draw_counts(figure.add_subplot(above[1]), outcome)
    for row, candidate in enumerate(shown, 1):
        places = rows[row].subgridspec(1, len(outcome.detectors))
        for place, name in zip(places, outcome.detectors, strict=True):
            draw_map(figure.add_subplot(place), candidate, name, row)
    figure.suptitle(title)
    return figure


def draw_scores(axis: Axes, outcome: Outcome) -> None:
    """Draw the envelope of the scores and the candidates that are kept."""
    # bins of window numbers, from the first window to the last, as times of their mergers
    searched = outcome.end - outcome.start - WINDOW_SECONDS
    filled = np.isfinite(outcome.envelope)
    times = (np.arange(ENVELOPE)[filled] + 0.5) / ENVELOPE * searched + MERGER_TIME
    style = ".-" if outcome.windows <= FEW else "-"
    axis.plot(*with_gaps(times, outcome.envelope[filled]), style, color=NOISE, lw=0.8, ms=3)
    for rank, candidate in enumerate(outcome.candidates):
        marked = bool(candidate.whitened)
        axis.plot(
            candidate.time - outcome.start,
            candidate.score,
            "o",
            mfc="none",
            ms=8 if marked else 5,
            color=SIGNAL if marked else "0.5",
        )
        if marked:
            axis.annotate(
                f"{rank + 1}",
                (candidate.time - outcome.start, candidate.score),
                xytext=(7, -3),
                textcoords="offset points",
                color=SIGNAL,
            )
    if len(outcome.candidates) > 1:
        first, second = (candidate.score for candidate in outcome.candidates[:2])
        axis.axhline(second, color="0.6", lw=0.8, ls=":")
        axis.set_title(f"Loudest {first:.2f}, second loudest {second:.2f}")
    axis.set(
        xlabel=f"merger time, s after GPS {outcome.start:.0f}",
        ylabel="score (mean logit)",
        xlim=(0, outcome.end - outcome.start),
    )
    axis.grid(alpha=0.3)


def with_gaps(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Break a line where far more time passes between its points than is usual."""
    if len(times) < 3:
        return times, values
    breaks = np.flatnonzero(np.diff(times) > 3 * np.median(np.diff(times))) + 1
    return np.insert(times, breaks, np.nan), np.insert(values, breaks, np.nan)


def draw_counts(axis: Axes, outcome: Outcome) -> None:
    """Draw how many candidates are at least as loud as a score, found and expected of chance."""
    if outcome.slid_live:
        expected = outcome.slid_histogram[::-1].cumsum()[::-1] * outcome.live / outcome.slid_live
        seen = expected > 0
        axis.step(
            HISTOGRAM[:-1][seen], expected[seen], color="0.3", where="post", label="chance (slides)"
        )
        floor = outcome.live / outcome.slid_live
        axis.axhline(floor, color="0.6", lw=0.8, ls=":", label="one slid candidate")
    found = outcome.histogram[::-1].cumsum()[::-1]
    seen = found > 0
    axis.step(HISTOGRAM[:-1][seen], found[seen], color=SIGNAL, where="post", label="found")
    inside = HISTOGRAM[:-1][(outcome.histogram + outcome.slid_histogram) > 0]
    if len(inside):
        axis.set_xlim(inside[0] - 0.5, inside[-1] + 0.5)
    axis.set(xlabel="score", ylabel="candidates at least as loud", yscale="log")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def draw_map(axis: Axes, candidate: Candidate, detector: str, rank: int) -> None:
    """Draw the wavelet transform of a candidate's whitened strain in one detector.

    White noise of unit variance has the same level in every row, so that colour is
    signal-to-noise.
    """
    transform = ComplexMorletCWT(
        wavelet_width=8,
        fs=SAMPLE_RATE,
        lower_freq=BAND[0],
        upper_freq=BAND[1],
        n_scales=96,
        stride=8,
    )
    strain = torch.tensor(candidate.whitened[detector], dtype=torch.float32)
    with torch.inference_mode():
        image = transform(strain[None, None])[0, 0].numpy()  # (row, frame), highest row first
    # A wavelet of unit gain has a bandwidth that grows with its frequency, and so has the noise.
    frequency = np.geomspace(BAND[1], BAND[0], len(image))
    image = image / np.sqrt(frequency[:, None] / frequency[-1])
    image = image / np.median(image)
    times = (
        candidate.whitened_start - candidate.time + np.linspace(0, WINDOW_SECONDS, image.shape[1])
    )
    inside = (times >= -BEFORE) & (times <= AFTER)
    axis.pcolormesh(
        times[inside],
        frequency,
        image[:, inside],
        cmap="viridis",
        vmin=0,
        vmax=8,
        shading="gouraud",
        rasterized=True,
    )
    axis.set_yscale("log")
    ticks = [20, 50, 100, 200, 500]
    axis.set_yticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set(xlabel=f"s from GPS {candidate.time:.2f}", ylabel="frequency, Hz")
    axis.set_title(f"{rank}: score {candidate.score:.2f}, {detector}", fontsize=10)
