"""The background of other searches: refused where scores mean something else, or counted twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trigger_tables import DETECTORS, make_table

from runtime.errors import UserError
from search.background_files import (
    digest_background_files,
    find_other_ranking,
    read_background_files,
)
from search.live_times import LiveTimes
from search.search_file import write_search_file

OWN = {"networks": ["a"], "views": ["identity"], "settings": {"step": 0.1, "slides": 20}}


def write(path: Path, strain: str, **changed: object) -> Path:
    live = LiveTimes.of_stretch(
        DETECTORS, 0, (0, 100), ("H1", "L1"), [{}, {"L1": 1.0}], np.full(2, 100.0)
    )
    identity = OWN | {"strain": {"H1": [strain]}} | changed
    write_search_file(path, [(make_table([5.0], [1.0]), live)], DETECTORS, 0.0, identity)
    return path


def test_searches_of_the_same_networks_join(tmp_path: Path) -> None:
    one, other = write(tmp_path / "1.hdf5", "x"), write(tmp_path / "2.hdf5", "y")
    files = read_background_files([one, other], OWN | {"strain": {"H1": ["z"]}}, 20)
    assert [file.found.score.tolist() for file in files] == [[1.0], [1.0]]
    more = write(tmp_path / "3.hdf5", "w", settings={"step": 0.1, "slides": 1000})
    assert len(read_background_files([more], OWN | {"strain": {}}, 20)) == 1


def test_other_rankings_are_refused(tmp_path: Path) -> None:
    networks = write(tmp_path / "1.hdf5", "x", networks=["b"])
    with pytest.raises(UserError, match="a search with other networks, whose scores mean"):
        read_background_files([networks], OWN, 20)
    step = write(tmp_path / "2.hdf5", "x", settings={"step": 0.2})
    with pytest.raises(UserError, match="a search with other --step"):
        read_background_files([step], OWN, 20)
    assert find_other_ranking(OWN, OWN) == []


def test_strain_that_is_slid_twice_is_refused(tmp_path: Path) -> None:
    one, other = write(tmp_path / "1.hdf5", "x"), write(tmp_path / "2.hdf5", "x")
    own = OWN | {"strain": {"H1": ["x"], "L1": ["v"]}}
    with pytest.raises(UserError, match=r"strain that this search slides as well"):
        read_background_files([one], own, 20)
    assert len(read_background_files([one], own, 0)) == 1
    with pytest.raises(UserError, match=r"that --background .*1\.hdf5 slides as well"):
        read_background_files([one, other], own, 0)


def test_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        digest_background_files([tmp_path / "none.hdf5"])
    one = write(tmp_path / "1.hdf5", "x")
    assert digest_background_files([one]) == digest_background_files([one])
