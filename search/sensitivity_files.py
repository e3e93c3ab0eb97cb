"""The tables of injections: each of them, and how many are found at a false-alarm rate."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from runtime.files import atomic_path
from search.background import SECONDS_PER_YEAR
from search.injections import InjectionResult, list_rates
from search.result import SearchResult
from search.trigger_table import NAME_BYTES, format_side, side_column

MONTHS = 12  # of a year


def write_injections(path: Path, found: InjectionResult) -> None:
    """Write a row for each injection that counts, with the score it was found with.

    Where the column `limit` has '<', the rate is lower than it says. Networks that predict side
    targets add two columns for each: what was injected, and what they predict of the trigger.
    """
    sides = [
        column for name in found.side_names for column in (injected_column(name), side_column(name))
    ]
    injections, rated = found.injections, found.significance
    with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                *("gps", "mass1", "mass2", "distance_mpc", "chirp_distance_mpc", "snr"),
                *("score", "combination", "limit", "false_alarms_per_year"),
                *sides,
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
                    *side_cells(found, row),
                ]
            )


def injected_column(name: str) -> str:
    """Return the name of the column of a side target's injected value."""
    return f"injected_{name}"


def side_cells(found: InjectionResult, row: int) -> list[str]:
    """Return the side targets of an injection in turn: as injected, then as predicted."""
    pairs = zip(found.injected[row], found.predicted[row], strict=True)
    return [format_side(value) for pair in pairs for value in pair]


def store_injections(path: Path, found: InjectionResult) -> None:
    """Add the injections that count to the file of a search's triggers, as the group `injections`.

    Data sets (N,): gps, mass1, mass2, chirp_mass, distance_mpc, snr, score (-inf of those that are
    missed), combination and false_alarm_rate (1/s, infinite of those that are missed). With side
    targets also `injected` and `predicted`, (N, S), whose names are in the attribute `side_names`.
    """
    import h5py

    injections = found.injections
    columns = {
        "gps": injections.time,
        "mass1": injections.mass1,
        "mass2": injections.mass2,
        "chirp_mass": injections.chirp_mass,
        "distance_mpc": injections.distance,
        "snr": injections.snr,
        "score": found.score,
        "combination": found.combination.astype(f"S{NAME_BYTES}"),
        "false_alarm_rate": found.significance.rate,
    }
    # Not atomic: the caller's folder is unfinished, and a resumed search writes the file anew.
    with h5py.File(path, "r+") as file:
        group = file.create_group("injections")
        if found.side_names:
            group.attrs["side_names"] = list(found.side_names)
            columns |= {"injected": found.injected, "predicted": found.predicted}
        for name, values in columns.items():
            group[name] = values


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
