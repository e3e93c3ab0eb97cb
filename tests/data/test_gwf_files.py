"""GWF frame files: what is read of them, and channels of other detectors."""

from __future__ import annotations

import numpy as np
import pytest
from real_strain import START, open_strain

from data.strain_files import open_recordings
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("channel", "match"),
    [
        ("H1:GDS-CALIB_STRAIN", "begins with L1: and this one is of H1"),
        ("K1:CAL-CS_PROC_DARM_STRAIN", "begins with L1: and this one is of K1"),
        ("STRAIN", "begins with L1: and this one is of no detector"),
    ],
)
def test_refuses_a_channel_of_another_detector(tmp_path, channel, match):
    path = tmp_path / "l.gwf"
    path.write_bytes(b"IGWD" + bytes(100))
    with pytest.raises(UserError, match=match):
        open_recordings([f"L1={path}"], [f"L1={channel}"])


def test_frame_files(tmp_path, strain):
    pytest.importorskip("lalframe")
    series = pytest.importorskip("gwpy.timeseries").TimeSeries
    name = "L1:GWOSC-4KHZ_R1_STRAIN"
    path = tmp_path / "l.gwf"
    series(strain, t0=START, sample_rate=4096, name=name, channel=name).write(path, format="gwf")
    recording = open_strain(path, "L1")
    assert (recording.rate, recording.start, recording.end) == (4096, START, START + 8)
    assert np.array_equal(recording.read(START + 3, 5000), strain[12288 : 12288 + 5000])
    with pytest.raises(UserError, match="no strain channels of H1"):
        open_strain(path)
    with pytest.raises(UserError, match="has no channel 'L1:ELSE'"):
        open_recordings([f"L1={path}"], ["L1=L1:ELSE"])
    # The library of some installations crashes on these; that must stay one sentence.
    for content in (b"IGWD" + bytes(100), path.read_bytes()[:50_000]):
        (tmp_path / "bad.gwf").write_bytes(content)
        with pytest.raises(UserError, match="download it again"):
            open_strain(tmp_path / "bad.gwf", "L1")
    assert open_strain(path, "L1").end == START + 8  # the reader has come back
