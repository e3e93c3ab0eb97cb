"""Strain files on the command line: mistakes are named."""

from __future__ import annotations

import numpy as np
import pytest
from real_strain import START, open_strain, write_strain

from data.strain_files import open_recordings
from runtime.errors import UserError


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["H1"], "expected DETECTOR=FILE"),
        (["H1="], "expected DETECTOR=FILE"),
        (["H2=x"], "there is no detector 'H2'"),
        (["H1=nowhere.hdf5"], "there is no file"),
        (["H1=text.hdf5"], "neither HDF5 nor GWF"),
        (["H1=empty.hdf5"], "neither HDF5 nor GWF"),
        (["H1=a.hdf5", "H1=a.hdf5"], "overlap"),
        (["H1=a.hdf5", "H1=slow.hdf5"], "of one rate"),
    ],
)
def test_mistakes_of_the_command_line(tmp_path, monkeypatch, strain, words, match):
    monkeypatch.chdir(tmp_path)
    write_strain(tmp_path / "a.hdf5", "H1", strain)
    write_strain(tmp_path / "slow.hdf5", "H1", strain, rate=2048, start=START + 100)
    (tmp_path / "text.hdf5").write_text("no strain")
    (tmp_path / "empty.hdf5").touch()
    with pytest.raises(UserError, match=match):
        open_recordings(words)


@pytest.mark.parametrize(
    ("found", "match"),
    [
        ("K1", "holds strain of K1 and was given for V1: give a file of V1$"),
        ("h1", "holds strain of h1 and was given for V1: give a file of V1, or .*--strain H1="),
        ("v1", None),
        (" V1", None),
    ],
)
def test_the_detector_that_a_file_names_is_believed(tmp_path, strain, found, match):
    path = write_strain(tmp_path / "v.hdf5", found, strain)
    if match is None:
        assert open_strain(path, "V1").detector == "V1"
        assert list(open_recordings([f"v1={path}"])) == ["V1"]  # and that of the command line
    else:
        with pytest.raises(UserError, match=match):
            open_recordings([f"V1={path}"])


def test_many_files_are_one_recording(tmp_path, strain):
    """A folder with files of two detectors, in parts of 1 s that are not in order of name."""
    folder = tmp_path / "strain"
    folder.mkdir()
    for name in ("H1", "L1"):
        for second in range(8):
            part = strain[second * 4096 : (second + 1) * 4096] * (1 if name == "H1" else -1)
            path = folder / f"{name[0]}-{name}_TEST-{START + second}-{1}.hdf5"
            write_strain(path, name, part, start=START + second)
    write_strain(folder / f"{0}.hdf5", "H1", strain[:4096], start=START + 20)
    recordings = open_recordings([f"H1={folder}", f"l1={folder / 'L-*'}"])
    assert [*recordings] == ["H1", "L1"]
    assert np.array_equal(recordings["H1"].read(START, len(strain)), strain)
    assert np.array_equal(recordings["L1"].read(START, len(strain)), -strain)
    assert recordings["H1"].usable_segments() == [(START, START + 8), (START + 20, START + 21)]
    assert recordings["L1"].usable_segments() == [(START, START + 8)]


def test_the_folder_of_gwosc_holds_both_detectors(shared):
    folder = shared / "data" / "gwosc"
    recordings = open_recordings([f"H1={folder}", f"L1={folder}"])
    for recording in recordings.values():
        assert recording.usable_segments() == [(1126259446, 1126259478)]
        assert np.isfinite(recording.read(1126259446, 32 * 4096)).all()


def test_a_channel_without_strain(tmp_path, strain):
    path = write_strain(tmp_path / "h.hdf5", "H1", strain)
    with pytest.raises(UserError, match=r"--channel L1=x: there is no strain of L1: give --strain"):
        open_recordings([f"H1={path}"], ["L1=x"])
