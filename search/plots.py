"""The figure of a search: scores against time, triggers against background, the loudest ones."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from experiments.summary_figure import SIGNAL
from physics.observation import Observation
from search.result import SearchResult, WhitenedStrain
from spectrograms.wavelets import ComplexMorletCWT

BAND = (20.0, 512.0)  # Hz, where the observation has it
BEFORE, AFTER = 0.45, 0.25  # s around the merger that are drawn
# Axes of scores have asinh(score / this): even up to about this score and logarithmic beyond, for
# both signs, so that 20 and 20,000 are both seen.
LINEAR_SCORES = 10.0
SCORE_LABEL = "score (log-likelihood ratio)"  # which a logit is an estimate of
MOST_TICKS = 7  # of an axis of scores
MARKED = 20  # triggers with a circle, those with the lowest rank
DRAWN = 5000  # triggers drawn as points, the loudest ones


def draw_search(result: SearchResult, title: str) -> Figure:
    """Return the figure of a search.

    Top left, the triggers against time. Top right, how many triggers are at least as loud as a
    score, with the number expected of noise alone from the time slides. Below, a row for each of
    the loudest triggers with, for each detector, the wavelet transform of its whitened strain.
    """
    shown = sorted(result.whitened)
    figure = Figure(figsize=(11, 4.2 + 2.6 * len(shown)), layout="constrained")
    rows = figure.add_gridspec(1 + len(shown), 1, height_ratios=[1.4, *(1.0 for _ in shown)])
    above = rows[0].subgridspec(1, 2, width_ratios=[2, 1])
    draw_scores(figure.add_subplot(above[0]), result)
    draw_counts(figure.add_subplot(above[1]), result)
    for place, row in enumerate(shown, 1):
        whitened = result.whitened[row]
        places = rows[place].subgridspec(1, len(whitened.strain))
        for spot, name in zip(places, whitened.strain, strict=True):
            axis = figure.add_subplot(spot)
            time, score = float(result.triggers.time[row]), float(result.triggers.score[row])
            draw_time_frequency_map(axis, whitened, name, time, result.observation)
            axis.set_title(f"{row + 1}: score {score:.2f}, {name}", fontsize=10)
    figure.suptitle(title)
    return figure


def draw_scores(axis: Axes, result: SearchResult) -> None:
    """Draw the triggers against time."""
    triggers = result.triggers.take(np.arange(min(len(result.triggers), DRAWN)))
    times = triggers.time - result.start
    for name in sorted(set(triggers.combination.tolist())):
        rows = triggers.combination == name
        axis.plot(times[rows], triggers.score[rows], ".", ms=3, alpha=0.7, label=name)
    for row in range(min(MARKED, len(triggers))):
        marked = row in result.whitened
        axis.plot(
            times[row],
            triggers.score[row],
            "o",
            mfc="none",
            ms=8 if marked else 5,
            color=SIGNAL if marked else "0.5",
        )
        if marked:
            axis.annotate(
                f"{row + 1}",
                (times[row], triggers.score[row]),
                xytext=(7, -3),
                textcoords="offset points",
                color=SIGNAL,
            )
    if len(triggers) > 1:
        first, second = triggers.score[:2]
        axis.axhline(second, color="0.6", lw=0.8, ls=":")
        axis.set_title(f"Loudest {first:.2f}, second loudest {second:.2f}")
    axis.set(
        xlabel=f"merger time, s after GPS {result.start:.0f}",
        ylabel=SCORE_LABEL,
        xlim=(0, result.end - result.start),
    )
    axis.set_yscale("asinh", linear_width=LINEAR_SCORES)
    axis.autoscale_view()  # with the margins of this scale
    set_score_ticks(axis.yaxis)
    axis.grid(alpha=0.3)
    if len(triggers):
        axis.legend(loc="upper left", fontsize=8)


def set_score_ticks(axis: Axis) -> None:
    """Put ticks on an axis of scores that do not overlap, evenly where all scores are small.

    Otherwise they are 0, 10, 30, 100, ..., evenly spaced on that scale, or powers of ten alone
    where those would be many.
    """
    low, high = axis.get_view_interval()
    largest = max(abs(low), abs(high))
    if largest < LINEAR_SCORES:
        axis.set_major_locator(MaxNLocator(MOST_TICKS - 1))
    else:
        powers = LINEAR_SCORES * 10.0 ** np.arange(math.log10(largest / LINEAR_SCORES) // 1 + 1)
        for steps in ((1, 3), (1,)):
            sizes = np.outer(powers, steps).ravel()
            ticks = np.sort([*-sizes, 0, *sizes])
            ticks = ticks[(ticks >= low) & (ticks <= high)]
            if len(ticks) <= MOST_TICKS:
                break
        axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())


def draw_counts(axis: Axes, result: SearchResult) -> None:
    """Draw how many triggers are at least as loud as a score: found, and expected of noise.

    What is expected of each combination of detectors is what its time slides have, scaled to the
    time that it was searched.
    """
    for name in result.background.combinations:
        live = result.background.live_time(name)
        scores = result.background.scores(name)
        share = result.live_seconds.get(name, 0.0) / live
        if len(scores) and share:
            expected = np.arange(len(scores), 0, -1) * share
            label = f"background of {name} (time slides)"
            axis.step(scores, expected, where="pre", color="0.3", label=label)
        if share:
            axis.axhline(share, color="0.6", lw=0.8, ls=":", label="one slid trigger")
    found = np.sort(result.triggers.score)
    axis.step(
        found, np.arange(len(found), 0, -1), where="pre", color=SIGNAL, label="found", zorder=3
    )
    axis.set(xlabel=SCORE_LABEL, ylabel="triggers at least as loud", yscale="log")
    axis.set_xscale("asinh", linear_width=LINEAR_SCORES)
    axis.autoscale_view()  # with the margins of this scale
    set_score_ticks(axis.xaxis)
    axis.grid(alpha=0.3)
    axis.legend(loc="upper right", fontsize=8)  # counts fall to the right


def band_to_draw(observation: Observation) -> tuple[float, float]:
    """Return the lowest and the highest frequency of the maps, Hz."""
    # Up to half of Nyquist's frequency, near which the sampled wavelets fold over.
    highest = min(BAND[1], observation.nyquist / 2)
    return min(max(BAND[0], observation.min_frequency), highest / 4), highest


def draw_time_frequency_map(
    axis: Axes, whitened: WhitenedStrain, detector: str, time: float, observation: Observation
) -> None:
    """Draw the wavelet transform of the whitened strain of one detector around a trigger.

    The transform is scaled so that white noise of unit variance has the same level in every row;
    colour is then a signal-to-noise ratio.

    Args:
        axis: to draw on.
        whitened: strain around the trigger.
        detector: which.
        time: of the trigger, GPS, s.
        observation: gives the rate and the band.
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
    strain = torch.tensor(whitened.strain[detector], dtype=torch.float32)
    with torch.inference_mode():
        image = transform(strain[None, None])[0, 0].numpy()  # (row, frame), highest row first
    # A wavelet of unit gain has a bandwidth proportional to its frequency f, so the amplitude of
    # white noise grows with sqrt(f).
    frequency = np.geomspace(high, low, len(image))
    image = image / np.sqrt(frequency[:, None] / frequency[-1])
    image = image / max(float(np.median(image)), 1e-12)  # strain of zeros has no level
    after_start = np.linspace(0, len(strain) / observation.sample_rate, image.shape[1])
    times = whitened.start - time + after_start
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
    axis.set(xlabel=f"s from GPS {time:.2f}", ylabel="frequency, Hz")
