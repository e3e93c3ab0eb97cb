"""Random data are a data set like any other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.harness.random_data import sample_ids, write_data_set, write_sparse_cache
from data.strain_cache import StrainCache
from datasets import load_index


def test_random_data_is_a_data_set(tmp_path: Path) -> None:
    settings = dict(text.split("=") for text in write_data_set(tmp_path, 12, 3))
    train, test = (load_index(settings[f"{split}_path"]) for split in ("train", "test"))
    assert (len(train), len(test)) == (12, 3)
    assert not set(train["id"]) & set(test["id"])
    cache = StrainCache(settings["train_cache"])
    strain = cache.read(cache.rows_of(train["id"]))
    assert 0.9e-20 < strain.std() < 1.1e-20
    assert not np.array_equal(strain[0], strain[1])


def test_a_sparse_cache_opens_as_a_true_one(tmp_path: Path) -> None:
    ids = sample_ids(300_000)
    assert len(set(ids)) == len(ids)
    write_sparse_cache(tmp_path / "cache.f32", ids)
    cache = StrainCache(tmp_path / "cache.f32")
    assert len(cache) == len(ids)
    np.testing.assert_array_equal(cache.rows_of([ids[5], ids[-1]]), [5, len(ids) - 1])
    assert os.stat(tmp_path / "cache.f32").st_blocks * 512 < 20e6  # of 15 GB
