"""Families of noise curves in folders, as files of two columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_family(folder: Path, *slopes: float) -> Path:
    """Write a curve a slope, ASD ~ f^slope, each on a level of its own; return the folder."""
    folder.mkdir(parents=True)
    frequencies = np.arange(5.0, 1030.0)
    for number, slope in enumerate(slopes):
        table = np.stack([frequencies, 1e-23 * (1 + number) * (frequencies / 100) ** slope], 1)
        np.savetxt(folder / f"{number}.txt", table)
    return folder
