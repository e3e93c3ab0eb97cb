"""Plots of sensitive distance: against the false-alarm rate, and what is found and missed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mdc.challenge_sets import PublishedSearch
from runtime.files import atomic_path
from search.sensitivity import Injections, Share

SHARE_RATE = 100.0  # a month, at which shares are drawn if the background resolves it


def save_figure(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        # without matplotlib's version in it, so that the same figure is the same file
        figure.savefig(temporary, dpi=100, metadata={"Software": None})


def draw_sensitivity(
    searches: Mapping[str, Mapping[str, Any]], published: Sequence[PublishedSearch], path: Path
) -> None:
    """Draw sensitive distance against the false-alarm rate, and the shares that are found.

    Args:
        searches: figures by name of the search.
        published: distances that others report.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.0), layout="constrained")
    distance, by_distance, by_snr = figure.subplots(1, 3)
    for place, (name, figures) in enumerate(searches.items()):
        curves = figures["curves"]
        curve = curves.get("population") or curves.get("sample")
        if curve:
            rates, values = zip(*curve, strict=True)
            distance.plot(rates, values, color=f"C{place}", linewidth=1, label=name)
        draw_points(distance, figures, f"C{place}")
        row = row_to_draw(figures)
        if row is not None:
            for axis, key in ((by_distance, "by_chirp_distance"), (by_snr, "by_snr")):
                draw_shares(axis, row.get(key) or (), f"C{place}", name)
    for place, each in enumerate(published):
        distance.plot(
            list(each.distances),
            list(each.distances.values()),
            linestyle="none",
            marker="sD^v<>"[place % 6],
            color="0.45",
            markersize=4,
            label=f"{each.name}, published",
        )
    distance.set_xscale("log")
    distance.set_xlabel("false alarms a month")
    distance.set_ylabel("sensitive distance, Mpc")
    rate = next((row["rate"] for row in map(row_to_draw, searches.values()) if row), None)
    if rate is not None:
        by_distance.set_title(f"at {rate:,.0f} false alarms a month", fontsize=9)
        by_snr.set_title(f"at {rate:,.0f} false alarms a month", fontsize=9)
    by_distance.set_xlabel("chirp distance, Mpc")
    by_snr.set_xlabel("network SNR")
    by_distance.set_ylabel("share of injections found")
    for axis in (by_distance, by_snr):
        axis.set_ylim(0, 1.02)
    for axis in (distance, by_distance, by_snr):
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    if distance.get_legend_handles_labels()[0]:
        # Below the panels, as it would hide published points within one.
        handles, labels = distance.get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncol=3, frameon=False, fontsize=8
        )
    save_figure(figure, path)


def row_to_draw(figures: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the figures at `SHARE_RATE`, or at the lowest rate that is resolved; else None."""
    rows = [row for row in figures["rows"] if row["unresolved"] is None]
    at_rate = [row for row in rows if math.isclose(row["rate"], SHARE_RATE)]
    return (at_rate or rows[-1:] or [None])[0]


def draw_points(axis: Any, figures: Mapping[str, Any], colour: str) -> None:
    """Draw the distances at the rates of the tables with their errors."""
    points = [
        (row["rate"], row["population"] or row["sample"])
        for row in figures["rows"]
        if row["unresolved"] is None and (row["population"] or row["sample"])
    ]
    if points:
        axis.errorbar(
            [rate for rate, _ in points],
            [each["value"] for _, each in points],
            [each["error"] for _, each in points],
            fmt="o",
            color=colour,
            markersize=3,
            elinewidth=0.8,
        )


def draw_shares(axis: Any, shares: Sequence[Mapping[str, Any]], colour: str, name: str) -> None:
    """Draw shares that are found with their errors, each in the middle of its range."""
    known = [Share(**each) for each in shares if each["injections"]]
    if not known:
        return
    ends = [each.high if each.high < 1e3 else 1.3 * each.low for each in known]
    middles = [(each.low + end) / 2 for each, end in zip(known, ends, strict=True)]
    axis.errorbar(
        middles,
        [each.efficiency for each in known],
        [each.error for each in known],
        fmt="o-",
        color=colour,
        markersize=3,
        linewidth=1,
        elinewidth=0.7,
        label=name,
    )


def draw_found_and_missed(
    injections: Injections, found: np.ndarray, title: str, path: Path
) -> None:
    """Draw every injection by chirp distance and SNR, found or missed.

    Args:
        injections: of the foreground.
        found: (N,) bool.
        title: of the plot.
        path: of the PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axis = figure.subplots()
    for chosen, colour, label in ((~found, "C3", "missed"), (found, "C0", "found")):
        axis.plot(
            injections.chirp_distance[chosen],
            injections.snr[chosen],
            linestyle="none",
            marker=".",
            markersize=3,
            alpha=0.6,
            color=colour,
            label=f"{label}: {int(chosen.sum()):,}",
        )
    axis.set_yscale("log")
    axis.set_xlabel("chirp distance, Mpc")
    axis.set_ylabel("network SNR")
    axis.set_title(title, fontsize=9)
    axis.grid(alpha=0.3)
    axis.tick_params(labelsize=8)
    axis.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
