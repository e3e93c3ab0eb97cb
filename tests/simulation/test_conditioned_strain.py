"""Conditioned strain in a file of its own; RealStrain's tests have more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from real_strain import START, coloured_noise, open_strain, write_strain

from data.recording import StrainInMemory
from data.strain_conditioning import condition_strain
from physics.observation import COMPETITION
from simulation.conditioned_strain import find_runs, open_conditioned_strain


def test_files_that_follow_each_other_are_one_run() -> None:
    lengths = ((0.0, 10), (10.0, 5), (100.0, 7.5))
    sources = [StrainInMemory("x", np.zeros(int(s * 64)), 64, start) for start, s in lengths]
    runs = find_runs(sources, 32)
    assert [(run.start, run.first, run.count) for run in runs] == [(0, 0, 480), (100, 480, 240)]


def test_it_is_what_the_search_reads(tmp_path: Path, monkeypatch) -> None:
    path = write_strain(tmp_path / "H1.hdf5", "H1", coloured_noise("H1", 20))
    kept = tmp_path / "kept"
    strain = open_conditioned_strain([str(path)], "H1", COMPETITION, kept)
    expected = condition_strain(open_strain(path), START, 20 * 2048)
    assert np.array_equal(strain.values, expected, equal_nan=True)
    # A glob names the same file, and the strain that was kept is read.
    named = open_conditioned_strain([str(tmp_path / "*.hdf5")], "H1", COMPETITION, kept)
    assert np.array_equal(named.values, expected, equal_nan=True)
    assert len(list(kept.glob("strain-H1-*.npy"))) == 1
    # Another file under the same name is conditioned anew.
    write_strain(path, "H1", coloured_noise("H1", 20, seed=1))
    other = open_conditioned_strain([str(path)], "H1", COMPETITION, kept)
    assert not np.array_equal(other.values, strain.values, equal_nan=True)
    assert len(list(kept.glob("strain-H1-*.npy"))) == 2
