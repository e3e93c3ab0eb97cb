"""Strain files on the command line: mistakes are named."""

from __future__ import annotations

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
