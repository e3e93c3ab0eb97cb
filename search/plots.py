"""The figure of a search: scores against time, triggers against background, the loudest ones."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.summary_figure import NOISE, SIGNAL
from physics.observation import Observation
from search.result import ENVELOPE_BINS, SearchResult
from search.triggers import HISTOGRAM_EDGES, Trigger
from spectrograms.wavelets import ComplexMorletCWT

BAND = (20.0, 512.0)  # Hz, where the observation has it
BEFORE, AFTER = 0.45, 0.25  # s around the merger that are drawn
FEW_WINDOWS = 400  # up to so many, each is drawn as a point


def draw_search(result: SearchResult, title: str) -> Figure:
    """Return the figure of a search.

    Top left, the highest score in each bin of time. Top right, how many triggers are at least as
    loud as a score, with the number expected of noise alone from the time slides. Below, a row for
    each of the loudest triggers with, for each detector, the wavelet transform of its whitened
    strain.
    """
    shown = [trigger for trigger in result.triggers if trigger.whitened]
    figure = Figure(figsize=(11, 4.2 + 2.6 * len(shown)), layout="constrained")
    rows = figure.add_gridspec(1 + len(shown), 1, height_ratios=[1.4, *(1.0 for _ in shown)])
    above = rows[0].subgridspec(1, 2, width_ratios=[2, 1])
    draw_scores(figure.add_subplot(above[0]), result)
    draw_counts(figure.add_subplot(above[1]), result)
    for row, trigger in enumerate(shown, 1):
        places = rows[row].subgridspec(1, len(result.detectors))
        for place, name in zip(places, result.detectors, strict=True):
            draw_time_frequency_map(
                figure.add_subplot(place), trigger, name, row, result.observation
            )
    figure.suptitle(title)
    return figure


def draw_scores(axis: Axes, result: SearchResult) -> None:
    """Draw the highest score in each bin of time, and the triggers."""
    # The bins are of window numbers, from the first to the last; the axis shows merger times.
    searched = result.end - result.start - result.observation.window
    filled = np.isfinite(result.envelope)
    times = (np.arange(ENVELOPE_BINS)[filled] + 0.5) / ENVELOPE_BINS * searched + result.arrival
    style = ".-" if result.windows <= FEW_WINDOWS else "-"
    axis.plot(*break_at_gaps(times, result.envelope[filled]), style, color=NOISE, lw=0.8, ms=3)
    for rank, trigger in enumerate(result.triggers):
        marked = bool(trigger.whitened)
        axis.plot(
            trigger.time - result.start,
            trigger.score,
            "o",
            mfc="none",
            ms=8 if marked else 5,
            color=SIGNAL if marked else "0.5",
        )
        if marked:
            axis.annotate(
                f"{rank + 1}",
                (trigger.time - result.start, trigger.score),
                xytext=(7, -3),
                textcoords="offset points",
                color=SIGNAL,
            )
    if len(result.triggers) > 1:
        first, second = (trigger.score for trigger in result.triggers[:2])
        axis.axhline(second, color="0.6", lw=0.8, ls=":")
        axis.set_title(f"Loudest {first:.2f}, second loudest {second:.2f}")
    axis.set(
        xlabel=f"merger time, s after GPS {result.start:.0f}",
        ylabel="score (mean logit)",
        xlim=(0, result.end - result.start),
    )
    axis.grid(alpha=0.3)


def break_at_gaps(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a line with NaN inserted where time jumps, so that it is drawn broken at gaps."""
    if len(times) < 3:
        return times, values
    breaks = np.flatnonzero(np.diff(times) > 3 * np.median(np.diff(times))) + 1
    return np.insert(times, breaks, np.nan), np.insert(values, breaks, np.nan)


def draw_counts(axis: Axes, result: SearchResult) -> None:
    """Draw how many triggers are at least as loud as a score: found, and expected of noise."""
    if result.background.live_time:
        background = result.background
        # louder than or as loud as each score: the cumulative sum from the loudest bin down
        counts = background.histogram[::-1].cumsum()[::-1]
        expected = counts * result.live_time / background.live_time
        seen = expected > 0
        axis.step(
            HISTOGRAM_EDGES[:-1][seen],
            expected[seen],
            color="0.3",
            where="post",
            label="background (time slides)",
        )
        floor = result.live_time / background.live_time
        axis.axhline(floor, color="0.6", lw=0.8, ls=":", label="one background trigger")
    found = result.histogram[::-1].cumsum()[::-1]
    seen = found > 0
    axis.step(HISTOGRAM_EDGES[:-1][seen], found[seen], color=SIGNAL, where="post", label="found")
    inside = HISTOGRAM_EDGES[:-1][(result.histogram + result.background.histogram) > 0]
    if len(inside):
        axis.set_xlim(inside[0] - 0.5, inside[-1] + 0.5)
    axis.set(xlabel="score", ylabel="triggers at least as loud", yscale="log")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper right", fontsize=8)  # counts fall to the right


def band_to_draw(observation: Observation) -> tuple[float, float]:
    """Return the lowest and the highest frequency of the maps, Hz."""
    # Up to half of Nyquist's frequency, near which the sampled wavelets fold over.
    highest = min(BAND[1], observation.nyquist / 2)
    return min(max(BAND[0], observation.min_frequency), highest / 4), highest


def draw_time_frequency_map(
    axis: Axes, trigger: Trigger, detector: str, rank: int, observation: Observation
) -> None:
    """Draw the wavelet transform of a trigger's whitened strain in one detector.

    The transform is scaled so that white noise of unit variance has the same level in every row;
    colour is then a signal-to-noise ratio.
    """
    low, high = band_to_draw(observation)
    transform = ComplexMorletCWT(
        wavelet_width=8,
        fs=observation.sample_rate,
        lower_freq=low,
        upper_freq=high,
        n_scales=96,
        stride=8,
    )
    strain = torch.tensor(trigger.whitened[detector], dtype=torch.float32)
    with torch.inference_mode():
        image = transform(strain[None, None])[0, 0].numpy()  # (row, frame), highest row first
    # A wavelet of unit gain has a bandwidth proportional to its frequency f, so the amplitude of
    # white noise grows with sqrt(f).
    frequency = np.geomspace(high, low, len(image))
    image = image / np.sqrt(frequency[:, None] / frequency[-1])
    image = image / np.median(image)
    after_start = np.linspace(0, observation.window, image.shape[1])
    times = trigger.whitened_start - trigger.time + after_start
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
    ticks = [tick for tick in (10, 20, 50, 100, 200, 500) if low <= tick <= high]
    axis.set_yticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set(xlabel=f"s from GPS {trigger.time:.2f}", ylabel="frequency, Hz")
    axis.set_title(f"{rank}: score {trigger.score:.2f}, {detector}", fontsize=10)
