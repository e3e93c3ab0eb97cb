"""Scores against the loudness and the masses of the signals, where they are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sample_files import read_table
from experiments.calibration import wilson_interval
from runtime.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

BINS = 8
FEWEST = 20  # signals in a bin
FEWEST_ABOVE = 5  # noise samples above the threshold, or it is mostly chance
FALSE_ALARM = 0.01
Columns = Mapping[str, np.ndarray]
NETWORK_SNR, CHIRP_MASS = "network SNR", "chirp mass, solar masses"
# What is drawn, in this order, and from which columns of parameters.csv or of the training table.
QUANTITIES: dict[str, tuple[tuple[str, ...], Callable[[Columns], np.ndarray]]] = {
    NETWORK_SNR: (("network_snr",), lambda c: c["network_snr"]),
    CHIRP_MASS: (
        ("mass_1", "mass_2"),
        lambda c: (c["mass_1"] * c["mass_2"]) ** 0.6 / (c["mass_1"] + c["mass_2"]) ** 0.2,
    ),
    "total mass, solar masses": (("mass_1", "mass_2"), lambda c: c["mass_1"] + c["mass_2"]),
    "mass ratio": (
        ("mass_1", "mass_2"),
        lambda c: np.minimum(c["mass_1"], c["mass_2"]) / np.maximum(c["mass_1"], c["mass_2"]),
    ),
    "distance, Mpc": (("luminosity_distance",), lambda c: c["luminosity_distance"]),
}


class SignalParameters:
    """What is known of the signals of a data set, each table read once for all runs."""

    def __init__(self) -> None:
        self.tables: dict[Path, pd.DataFrame | None] = {}

    def quantities(self, table: Path, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return the known quantities (n,) of samples, NaN where one has none.

        Args:
            table: the table of the samples; parameters.csv beside it comes first.
            ids: (n,) of the samples.
        """
        found: dict[str, np.ndarray] = {}
        for path in (table.with_name("parameters.csv"), table):
            if path not in self.tables:
                self.tables[path] = read_columns(path)
            known = self.tables[path]
            if known is None:
                continue
            place = known.index.get_indexer(ids)
            if (place < 0).all():  # a table of other samples
                continue
            columns = {
                name: np.where(place >= 0, known[name].to_numpy()[place], np.nan) for name in known
            }
            for name, (needed, compute) in QUANTITIES.items():
                if name not in found and set(needed) <= set(columns):
                    with np.errstate(all="ignore"):  # noise has zeros where signals have masses
                        found[name] = compute(columns)
        return found


def read_columns(path: Path) -> pd.DataFrame | None:
    """Return the columns that `QUANTITIES` are made of, by id; None where there are none."""
    import pandas as pd

    try:
        table = read_table(path, ("id",))
    except (UserError, OSError):  # the name is a common one: any file may have it
        return None
    wanted = dict.fromkeys(column for needed, _ in QUANTITIES.values() for column in needed)
    there = [column for column in wanted if column in table]
    if not there:
        return None
    numbers = {column: pd.to_numeric(table[column], errors="coerce") for column in there}
    return pd.DataFrame(numbers).set_index(table["id"].astype(str))


def measure_by_quantity(
    targets: np.ndarray, scores: np.ndarray, quantities: Columns
) -> dict[str, dict[str, Any]]:
    """Return how well signals are found, in bins of each quantity that hold equally many.

    Args:
        targets, scores: (n,) each, the scores finite.
        quantities: (n,) each, NaN where one is not known.

    Returns:
        By quantity `x`, the median in each bin; `n`, the signals in it; `score`, the 25th, 50th
        and 75th percentile of their scores; and `found`, the share above the threshold that 1 %
        of the noise passes with the ends of its 95 % interval, or None for too little noise.
    """
    signals = np.round(targets) == 1
    noise = scores[~signals]
    threshold = None
    if len(noise) * FALSE_ALARM >= FEWEST_ABOVE:
        threshold = float(np.quantile(noise, 1 - FALSE_ALARM))
    measured = {}
    for name, values in quantities.items():
        rows = np.flatnonzero(signals & np.isfinite(values))
        bins = min(BINS, len(rows) // FEWEST)
        if bins < 2 or values[rows].min() == values[rows].max():
            continue
        parts = np.array_split(rows[np.argsort(values[rows], kind="stable")], bins)
        spread = [np.percentile(scores[part], [25, 50, 75]) for part in parts]
        found = None
        if threshold is not None:
            counts = np.array([len(part) for part in parts])
            share = np.array([(scores[part] > threshold).mean() for part in parts])
            found = np.stack([share, *wilson_interval(share, counts)], 1).round(4).tolist()
        measured[name] = {
            "x": [float(f"{np.median(values[part]):.4g}") for part in parts],
            "n": [len(part) for part in parts],
            "score": np.round(spread, 3).tolist(),
            "found": found,
        }
    return measured
