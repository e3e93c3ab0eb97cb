"""GWF frame files: what is read of them, gaps, data-quality channels, and other detectors."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pytest
from frame_files import write_frame_file
from real_strain import START, open_strain

from data.recording import StrainRequest
from data.strain_files import open_recordings, open_sources
from runtime.errors import UserError

H1 = "H1:GWOSC-4KHZ_R1_STRAIN"
GWOSC_BITS = "H1:GWOSC-4KHZ_R1_DQMASK"


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


def test_files_that_gwpy_writes(tmp_path, strain):
    pytest.importorskip("lalframe")
    series = pytest.importorskip("gwpy.timeseries").TimeSeries
    name = "L1:GWOSC-4KHZ_R1_STRAIN"
    path = tmp_path / "l.gwf"
    series(strain, t0=START, sample_rate=4096, name=name, channel=name).write(path, format="gwf")
    recording = open_strain(path, "L1")
    assert (recording.rate, recording.start, recording.end) == (4096, START, START + 8)
    assert np.array_equal(recording.read(START + 3, 5000), strain[12288 : 12288 + 5000])
    assert recording.sources[0].calibration == "GWOSC-4KHZ_R1_STRAIN"
    with pytest.raises(UserError, match=r"holds strain of L1 and was given for H1: .*--strain L1="):
        open_strain(path)
    with pytest.raises(UserError, match="has no channel 'L1:ELSE'"):
        open_recordings([f"L1={path}"], ["L1=L1:ELSE"])
    # The library of some installations crashes on these; that must stay one sentence.
    for content in (b"IGWD" + bytes(100), path.read_bytes()[:50_000]):
        (tmp_path / "bad.gwf").write_bytes(content)
        with pytest.raises(UserError, match="download it again"):
            open_strain(tmp_path / "bad.gwf", "L1")
    assert open_strain(path, "L1").end == START + 8  # the reader has come back


def test_gaps_between_frames(tmp_path, strain):
    """Frames of 2 s at 0, 2 and 6 s, stored out of order and in single precision."""
    single = strain.astype(np.float32)
    parts = {at: {H1: single[at * 4096 : (at + 2) * 4096]} for at in (6, 0, 2)}
    frames = [(START + at, 2.0, channels) for at, channels in parts.items()]
    recording = open_strain(write_frame_file(tmp_path / "h.gwf", frames))
    assert recording.data_segments() == [(START, START + 4), (START + 6, START + 8)]
    assert recording.usable_segments() == recording.data_segments()
    assert (recording.start, recording.end) == (START, START + 8)
    read = recording.read(START - 1, 10 * 4096)
    expected = np.full(10 * 4096, np.nan)
    expected[4096 : 5 * 4096] = single[: 4 * 4096]
    expected[7 * 4096 : 9 * 4096] = single[6 * 4096 :]
    assert np.array_equal(read, expected, equal_nan=True)
    # A read across the edge of two frames that begins and ends within them.
    assert np.array_equal(recording.read(START + 1.5, 4096), single[6144 : 6144 + 4096])
    assert np.isnan(recording.read(START + 4.25, 4096)).all()


def test_a_frame_without_the_channel_is_a_gap(tmp_path, strain):
    other = {"H1:OTHER": strain[:4096]}
    frames = [(START, 1.0, {H1: strain[:4096]}), (START + 1, 1.0, other)]
    recording = open_strain(write_frame_file(tmp_path / "h.gwf", frames))
    read = recording.read(START, 8192)
    assert np.array_equal(read[:4096], strain[:4096])
    assert np.isnan(read[4096:]).all()


def frames_with_bits(strain, channel: str, bits, start: float = START):
    """Return four frames of 2 s with a mask of 1 Hz."""
    return [
        (
            start + 2 * i,
            2.0,
            {
                H1: strain[i * 8192 : (i + 1) * 8192],
                channel: np.array(bits[2 * i : 2 * i + 2], np.uint32),
            },
        )
        for i in range(4)
    ]


def test_data_quality_channels(tmp_path, strain):
    # Bits 0 to 6 are DATA, CBC_CAT1, CBC_CAT2, ...; CBC_CAT3 is not asked for.
    bits = [0b111, 0b111, 0b110, 0b101, 0b011, 0b111, 0b0111, 0b1111]
    path = write_frame_file(tmp_path / "h.gwf", frames_with_bits(strain, GWOSC_BITS, bits))
    recording = open_strain(path)
    assert recording.excluded_segments() == {
        "DATA": [(START + 2, START + 3)],
        "CBC_CAT1": [(START + 3, START + 4)],
        "CBC_CAT2": [(START + 4, START + 5)],
    }
    assert recording.usable_segments() == [(START, START + 2), (START + 5, START + 8)]
    asked = functools.partial(open_recordings, [f"H1={path}"])
    assert asked(data_quality=()).popitem()[1].excluded_segments() == {}
    third = asked(data_quality=("CBC_CAT3",))["H1"]
    assert third.usable_segments() == [(START + 7, START + 8)]
    with pytest.raises(UserError, match=r"no data-quality bit 'CBC_CAT4' \(did you mean 'CBC_CAT"):
        asked(data_quality=("CBC_CAT4",))


def test_a_state_vector_and_the_bits_of_another_detector(tmp_path, strain):
    state = "H1:GDS-CALIB_STATE_VECTOR"
    bits = [0b11, 0b11, 0b01, 0b10, 0b11, 0b11, 0b11, 0b11]
    frames = frames_with_bits(strain, state, bits)
    for _, _, channels in frames:
        channels["L1:GWOSC-4KHZ_R1_DQMASK"] = np.zeros(2, np.uint32)
    recording = open_strain(write_frame_file(tmp_path / "h.gwf", frames))
    # It has the bits of injections as well, and none is set: NO_CBC_HW_INJ excludes everything.
    excluded = recording.excluded_segments()
    assert excluded["OBSERVATION_INTENT"] == [(START + 2, START + 3)]
    assert excluded["HOFT_OK"] == [(START + 3, START + 4)]
    assert excluded["NO_CBC_HW_INJ"] == [(START, START + 8)]
    assert "DATA" not in excluded


def test_several_channels(tmp_path, strain):
    two = {"H1:A_STRAIN": strain[:4096], "H1:B_STRAIN": strain[4096:8192], "H1:NOISE": strain[:64]}
    path = write_frame_file(tmp_path / "h.gwf", [(START, 1.0, two)])
    with pytest.raises(
        UserError, match=r"has 2 strain channels of H1: .*H1:A_STRAIN, H1:B_STRAIN$"
    ):
        open_strain(path)
    chosen = open_recordings([f"H1={path}"], ["h1=h1:b_strain"])["H1"]
    assert np.array_equal(chosen.read(START, 4096), strain[4096:8192])
    with pytest.raises(UserError, match=r"no channel 'H1:A_STAIN' \(did you mean 'H1:A_STRAIN'"):
        open_recordings([f"H1={path}"], ["H1=H1:A_STAIN"])
    with pytest.raises(UserError, match="is sampled at 64 Hz"):
        open_recordings([f"H1={path}"], ["H1=H1:NOISE"])
    # Channels are two calibrations, which are not joined.
    later = write_frame_file(
        tmp_path / "later.gwf", [(START + 1, 1.0, {"H1:C_STRAIN": strain[:4096]})]
    )
    first = write_frame_file(tmp_path / "first.gwf", [(START, 1.0, {"H1:A_STRAIN": strain[:4096]})])
    with pytest.raises(UserError, match=r"holds A_STRAIN and .* holds C_STRAIN: two calibrations"):
        open_recordings([f"H1={first}", f"H1={later}"])


def test_the_rate_of_later_files_is_checked_when_they_are_read(tmp_path, strain):
    """Only the first file of a channel is unpacked to learn its rate."""
    write_frame_file(tmp_path / "a.gwf", [(START, 2.0, {H1: strain[:8192]})])
    write_frame_file(tmp_path / "b.gwf", [(START + 2, 2.0, {H1: strain[:4096]})])
    recording = open_recordings([f"H1={tmp_path}"])["H1"]
    assert np.array_equal(recording.read(START, 8192), strain[:8192])
    with pytest.raises(
        UserError, match=r"b\.gwf: .* sampled at 2048 Hz .*at 4096 Hz: give files of"
    ):
        recording.read(START + 2, 100)


def test_whole_numbers_are_no_strain(tmp_path):
    frames = [(START, 1.0, {"H1:STRAIN": np.ones(4096, np.int32)})]
    path = write_frame_file(tmp_path / "h.gwf", frames)
    with pytest.raises(UserError, match="H1:STRAIN does not hold floating-point numbers"):
        open_strain(path)


def test_a_file_is_one_source_and_its_digest_is_of_one_channel(tmp_path, strain):
    path = write_frame_file(tmp_path / "h.gwf", [(START, 1.0, {H1: strain[:4096]})])
    (source,) = open_sources(path, StrainRequest("H1"))
    assert source.content_digest().endswith(H1)


def test_frames_and_hdf5_of_the_same_strain_are_the_same(tmp_path, shared):
    """GW150914 in GWOSC's HDF5, and written as frames by LALSuite."""
    path = shared / "data" / "gwosc" / "H-H1_LOSC_4_V2-1126259446-32.hdf5"
    whole = open_strain(path)
    values = whole.read(1126259446, 32 * 4096)
    frames = [
        (1126259446 + second, 8.0, {"H1:LOSC-STRAIN": values[second * 4096 : (second + 8) * 4096]})
        for second in range(0, 32, 8)
    ]
    name = "H-H1_LOSC_4_V2-1126259446-32.gwf"
    recording = open_strain(write_frame_file(tmp_path / name, frames))
    assert np.array_equal(
        recording.read(1126259460.5, 4 * 4096), whole.read(1126259460.5, 4 * 4096)
    )
    # The channel is named alike in all of GWOSC's first releases, and the file is not.
    assert recording.sources[0].calibration == whole.sources[0].calibration


def test_relative_paths_begin_where_the_caller_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that reads frames outlives a change of the working directory."""
    from data.gwf_reading_process import call_in_reading_process

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert call_in_reading_process(os.path.abspath, Path("x.gwf")) == str(
            tmp_path / name / "x.gwf"
        )
