"""The tables of injections: each of them, and how many are found at a false-alarm rate."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from runtime.files import atomic_path
from search.background import SECONDS_PER_YEAR
from search.injections import InjectionResult, list_rates
from search.result import SearchResult

MONTHS = 12  # of a year


def write_injections(path: Path, found: InjectionResult) -> None:
    """Write a row for each injection that counts, with the score it was found with.

    Where the column `limit` has '<', the rate is lower than it says.
    """
    injections, rated = found.injections, found.significance
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                *("gps", "mass1", "mass2", "distance_mpc", "chirp_distance_mpc", "snr"),
                *("score", "combination", "limit", "false_alarms_per_year"),
            ]
        )
        for row in range(len(injections)):
            is_found, known = math.isfinite(found.score[row]), math.isfinite(rated.rate[row])
            writer.writerow(
                [
                    f"{injections.time[row]:.4f}",
                    f"{injections.mass1[row]:.3f}",
                    f"{injections.mass2[row]:.3f}",
                    f"{injections.distance[row]:.2f}",
                    f"{injections.chirp_distance[row]:.2f}",
                    f"{injections.snr[row]:.3f}",
                    f"{found.score[row]:.4f}" if is_found else "",
                    found.combination[row],
                    "<" if known and rated.is_limit[row] else "",
                    f"{rated.rate[row] * SECONDS_PER_YEAR:.4g}" if known else "",
                ]
            )


def write_sensitivity(path: Path, found: InjectionResult, result: SearchResult) -> None:
    """Write how many injections are found at the false-alarm rates of the loudest candidates."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                *("false_alarms_per_month", "injections", "efficiency", "efficiency_error"),
                *("sensitive_distance_mpc", "sensitive_distance_error_mpc"),
            ]
        )
        for rate in list_rates(result.significance, result.background):
            efficiency, error = found.efficiency(rate)
            distance, distance_error = found.sensitive_distance(rate)
            known = math.isfinite(distance)
            writer.writerow(
                [
                    f"{rate * SECONDS_PER_YEAR / MONTHS:.4g}",
                    len(found.injections),
                    f"{efficiency:.4f}",
                    f"{error:.4f}",
                    f"{distance:.1f}" if known else "",
                    f"{distance_error:.1f}" if known else "",
                ]
            )
