"""Targets compared with the injections that parameters.csv lists beside a table of samples.

Simulated data have this file: a row for each sample that holds a signal, with its network SNR.
Targets that were put into another order are found by it before anything is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.sample_files import read_table
from runtime.errors import UserError

PARAMETERS, SNR = "parameters.csv", "network_snr"


def find_contradictions(
    folder: Path, ids: Sequence[str], targets: Sequence[float]
) -> dict[str, str]:
    """Return what contradicts the targets, by the id of the sample.

    A sample of target 0 must have no injection, and one of target 1 must have one, of an SNR above
    0. A sample that is not listed has none.
    Targets between are rounded, and samples of unknown SNR are left out.

    Args:
        folder: of the table; without a parameters.csv of these samples there is nothing to compare.
        ids, targets: (n,) each, targets from 0 to 1.
    """
    path = folder / PARAMETERS
    if not path.is_file():
        return {}
    import pandas as pd

    try:
        table = read_table(path, ("id", SNR))
    except UserError:  # the name is a common one: any file may have it
        return {}
    listed = pd.to_numeric(table[SNR], errors="coerce").to_numpy(np.float64)
    place = pd.Index(table["id"]).get_indexer(list(ids))
    if (place < 0).all():  # a table of other samples
        return {}
    snr = np.where(place < 0, 0.0, listed[place])  # who is not listed has no injection
    target = np.asarray(targets, np.float64)
    hidden, absent = (target < 0.5) & (snr > 0), (target > 0.5) & (snr <= 0)
    return {
        str(ids[row]): f"target 0 and an injection of SNR {snr[row]:.1f}"
        if hidden[row]
        else "target 1 and no injection"
        for row in np.flatnonzero(hidden | absent)
    }


def explain_contradictions(csv: Path, ids: Sequence[str], targets: Sequence[float]) -> str | None:
    """Return a sentence on targets that contradict parameters.csv; None where none does.

    Args:
        csv: the table.
        ids, targets: see `find_contradictions`.
    """
    found = find_contradictions(csv.parent, ids, targets)
    if not found:
        return None
    first = next(iter(found))
    return (
        f"{csv}: {len(found):,} of {len(ids):,} targets contradict {csv.with_name(PARAMETERS)}, "
        f"the first that of {first!r} ({found[first]}): see that every target stands beside the "
        f"id of its own sample"
    )
