"""A recording: any part of it, joined from several sources, NaN where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from real_strain import START, open_strain, write_strain

from data.recording import (
    Recording,
    StrainInMemory,
    StrainRequest,
    check_rate,
    explain_wrong_detector,
    file_digest,
)
from data.strain_files import open_recordings
from physics.observation import Observation
from runtime.errors import UserError


def test_what_is_not_there_is_nan(tmp_path, strain):
    read = open_strain(write_strain(tmp_path / "h.hdf5", "H1", strain)).read(START - 1, 10 * 4096)
    assert np.isnan(read[:4096]).all()
    assert np.isnan(read[-4096:]).all()
    assert np.array_equal(read[4096:-4096], strain)


def test_joins_files_and_leaves_what_is_between_missing(tmp_path, strain):
    later = write_strain(tmp_path / "b.hdf5", "H1", strain, start=START + 10)
    first = write_strain(tmp_path / "a.hdf5", "H1", strain)
    recording = open_recordings([f"H1={later}", f"H1={first}"])["H1"]
    read = recording.read(START + 7, 4 * 4096)
    assert np.array_equal(read[:4096], strain[-4096:])
    assert np.isnan(read[4096 : 3 * 4096]).all()
    assert np.array_equal(read[3 * 4096 :], strain[:4096])


def test_held_strain():
    recording = Recording("H1", [StrainInMemory("held", np.arange(4096.0), 2048, 10.0)])
    assert recording.end == 12.0
    assert np.array_equal(recording.read(11.0, 3), [2048, 2049, 2050])


def test_the_advice_for_another_detectors_file_is_that_of_the_command_line_and_of_a_config():
    request = StrainRequest("H1")
    assert explain_wrong_detector("l.hdf5", "L1", request) == (
        "l.hdf5 holds strain of L1 and was given for H1: give a file of H1, or name this one for "
        "L1 (detect.py: --strain L1=l.hdf5; RealStrain: under L1 in files)"
    )
    # These networks do not observe with K1; others do.
    alone = explain_wrong_detector("l.hdf5", "K1", request)
    assert alone.endswith("for H1: give a file of H1")
    request = StrainRequest("H1", Observation(detectors=("H1", "K1")))
    assert "--strain K1=l.hdf5" in explain_wrong_detector("l.hdf5", "K1", request)


@pytest.mark.parametrize(
    ("lowest", "advice"),
    [
        (2048, "the networks take 2048 Hz: use the 4 kHz or 16 kHz file"),
        (8192, "the networks take 8192 Hz: use the 16 kHz file"),
        (32768, "the networks take 32768 Hz: give strain at 32768 Hz or more"),
    ],
)
def test_the_advice_for_slow_strain_is_a_file_that_is_fast_enough(lowest, advice):
    with pytest.raises(UserError, match=advice):
        check_rate(1024.0, "h.hdf5", lowest)


class Stated(StrainInMemory):
    """Strain that states its calibration and its data quality."""

    def __init__(self, start: float, calibration: str, excluded: dict) -> None:
        super().__init__(f"{calibration} at {start:g}", np.zeros(160), 16, start)
        self.calibration, self.excluded = calibration, excluded

    def excluded_segments(self) -> dict:
        return self.excluded


def test_two_calibrations_are_not_joined():
    one, two = Stated(0.0, "GWOSC-4KHZ_R1_STRAIN", {}), Stated(20.0, "DCS-CALIB_STRAIN_C01", {})
    unknown = Stated(10.0, "", {})
    assert len(Recording("H1", [one, unknown]).sources) == 2
    with pytest.raises(UserError, match=r"at 0 holds GWOSC-4KHZ_R1_STRAIN and .* at 20 holds DCS"):
        Recording("H1", [two, unknown, one])


def test_usable_is_what_is_there_and_no_bit_excludes():
    first = Stated(0.0, "", {"DATA": [(0.0, 2.0)], "CBC_CAT1": [(1.0, 3.0)]})
    recording = Recording("H1", [Stated(30.0, "", {"DATA": [(35.0, 36.0)]}), first])
    assert recording.data_segments() == [(0.0, 10.0), (30.0, 40.0)]
    assert recording.excluded_segments() == {
        "DATA": [(0.0, 2.0), (35.0, 36.0)],
        "CBC_CAT1": [(1.0, 3.0)],
    }
    assert recording.usable_segments() == [(3.0, 10.0), (30.0, 35.0), (36.0, 40.0)]


def test_strain_outside_of_limits_is_missing():
    values = np.arange(160.0)
    whole = Recording("H1", [StrainInMemory("x", values, 16, 100.0)])
    limited = whole.limited_to([(90.0, 101.0), (102.5, 103.03), (200.0, 300.0)])
    assert limited.data_segments() == [(100.0, 101.0), (102.5, 103.03)]
    assert limited.usable_segments() == limited.data_segments()
    read = limited.read(99.5, 176)
    # Samples 0 to 15, and 40 to 47; that of 103 s, sample 48, lies within as well.
    kept = [*range(16), *range(40, 49)]
    assert np.flatnonzero(np.isfinite(read)).tolist() == [8 + i for i in kept]
    assert np.array_equal(read[np.isfinite(read)], values[kept])
    assert np.isnan(limited.read(500.0, 10)).all()
    # The same strain with other limits is another search; with none it is the same.
    assert limited.content_digests()[:-1] == whole.content_digests()
    assert limited.content_digests() != whole.limited_to([(90.0, 101.0)]).content_digests()
    assert whole.limited_to([(0.0, 500.0)]).content_digests() == whole.content_digests()


def test_a_read_touches_no_more_sources_than_it_needs(monkeypatch):
    sources = [StrainInMemory(str(i), np.full(160, float(i)), 16, 10.0 * i) for i in range(50)]
    recording, touched = Recording("H1", sources), []
    plain = StrainInMemory.read

    def read(self, first: int, last: int) -> np.ndarray:
        touched.append(self.name)
        return plain(self, first, last)

    monkeypatch.setattr(StrainInMemory, "read", read)
    values = recording.read(255.0, 160)
    assert touched == ["25", "26"]
    assert np.array_equal(values, np.repeat([25.0, 26.0], 80))


def test_a_file_that_changes_has_another_digest(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = file_digest(path)
    assert first == file_digest(path)
    path.write_bytes(b"another")
    assert file_digest(path) != first
