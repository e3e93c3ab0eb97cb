"""GWF files as LALSuite writes them, with several frames and channels; skips where it is absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest


def write_frame_file(
    path: Path, frames: Sequence[tuple[float, float, Mapping[str, np.ndarray]]]
) -> Path:
    """Write frames of (GPS start, duration in s, samples by channel) into a GWF file."""
    lal, lalframe = pytest.importorskip("lal"), pytest.importorskip("lalframe")
    file = lalframe.FrameUFrFileOpen(str(path), "w")
    for number, (start, duration, channels) in enumerate(frames):
        epoch = lal.LIGOTimeGPS(start)
        frame = lalframe.FrameNew(epoch, duration, "test", 0, number, 0)
        for name, values in channels.items():
            kind = {"f4": "REAL4", "f8": "REAL8", "u4": "UINT4", "i4": "INT4"}[values.dtype.str[1:]]
            series = getattr(lal, f"Create{kind}TimeSeries")(
                name, epoch, 0.0, duration / len(values), lal.DimensionlessUnit, len(values)
            )
            series.data.data = values
            getattr(lalframe, f"FrameAdd{kind}TimeSeriesProcData")(frame, series)
        lalframe.FrameUFrameHWrite(file, frame)
    del file  # closes it
    return path
