"""A recording: any part of it, joined from several sources, NaN where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from real_strain import START, open_strain, write_strain

from data.recording import Recording, StrainInMemory, explain_wrong_detector
from data.strain_files import open_recordings


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
    path = Path("l.hdf5")
    assert explain_wrong_detector(path, "L1", "H1") == (
        "l.hdf5 holds strain of L1 and was given for H1: give a file of H1, or name this one for "
        "L1 (detect.py: --strain L1=l.hdf5; RealStrain: under L1 in files)"
    )
    # --strain takes no K1.
    assert explain_wrong_detector(path, "K1", "H1").endswith("for H1: give a file of H1")
