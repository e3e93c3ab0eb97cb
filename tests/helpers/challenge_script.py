"""Sensitive distance as the MLGWSC-1 challenge's evaluate.py computes it, written out plainly.

A second implementation to compare with, in loops where the toolkit has arrays: no line is shared.
"""

from __future__ import annotations

import math


def evaluate_events(
    foreground: list[tuple[float, float, float]],
    background: list[tuple[float, float, float]],
    injections: list[dict[str, float]],
    duration: float,
) -> list[tuple[float, float]]:
    """Return (false alarms a second, sensitive distance in Mpc) for each event of the background.

    Args:
        foreground: events (time, stat, var).
        background: events (time, stat, var).
        injections: tc, mass1, mass2, distance of each.
        duration: of the foreground, s.
    """
    best: dict[int, float] = {}
    for time, stat, var in foreground:
        nearest = min(range(len(injections)), key=lambda i: abs(injections[i]["tc"] - time))
        if abs(injections[nearest]["tc"] - time) <= var:
            best[nearest] = max(best.get(nearest, -math.inf), stat)
    chirp = [
        (row["mass1"] * row["mass2"]) ** (3 / 5) / (row["mass1"] + row["mass2"]) ** (1 / 5)
        for row in injections
    ]
    mc_max, d_max = max(chirp), max(row["distance"] for row in injections)
    v_tot = 4 / 3 * math.pi * d_max**3
    prefactor = v_tot / (mc_max ** (5 / 2) * len(injections))
    noise = sorted(stat for _, stat, _ in background)
    points = []
    for i, threshold in enumerate(noise):
        far = (len(noise) - i - 1) / duration
        mc_sum = sum(chirp[number] ** (5 / 2) for number, stat in best.items() if stat > threshold)
        volume = prefactor * mc_sum
        points.append((far, (3 * volume / (4 * math.pi)) ** (1 / 3)))
    return points
