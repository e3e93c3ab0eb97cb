"""A cache held on a device gives what the file gives. Here the device is the CPU."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import make_data, run_here, same_arrays

from data.batch_order import CountedBatchSampler
from data.cache_writer import write_cache
from data.device_cache import DeviceCache, device_cache
from data.sample_files import read_strain
from data.strain_cache import StrainCache
from datasets import G2NetDataset, load_index
from runtime.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Data with caches, as prep_data.py leaves them."""
    folder = make_data(tmp_path_factory.mktemp("data") / "input")
    for split in ("train", "test"):
        index = load_index(folder / f"{split}.csv")
        write_cache(folder / f"{split}_cache.f32", index["id"].tolist(), index["path"].tolist())
    return folder


def test_reads_what_lies_in_the_file(data: Path) -> None:
    cache = StrainCache(data / "train_cache.f32")
    held = DeviceCache(cache, CPU)
    rows = np.array([7, 3, 3, 59])
    strain = held.read(rows)
    assert strain.dtype == torch.float32
    np.testing.assert_array_equal(strain.numpy(), cache.read(rows))
    index = load_index(data / "train.csv")
    np.testing.assert_array_equal(
        held.read(held.find([index["id"][11]]))[0].numpy(),
        read_strain(index["path"][11]).astype(np.float32),
    )
    assert len(held) == len(cache)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_factor": (4.61e-20, 4.23e-20, 1.11e-20)},
        {"mixup": True},
        {"mixup": True, "mixup_option": "negative", "lor_label": True},
        {"pseudo_label": True},
        {"pseudo_label": True, "mixup": True, "norm_factor": (1e-20, 2e-20, 3e-20)},
    ],
)
def test_batches_are_those_of_the_file(data: Path, options: dict) -> None:
    train, test = (load_index(data / f"{split}.csv") for split in ("train", "test"))
    files = {split: StrainCache(data / f"{split}_cache.f32") for split in ("train", "test")}
    held = {split: device_cache(str(cache.path), CPU) for split, cache in files.items()}
    sets = []
    for caches in (files, held):
        pseudo = {}
        if options.get("pseudo_label"):
            pseudo = {
                "test_paths": test["path"].tolist(),
                "test_ids": test["id"].tolist(),
                "test_targets": np.linspace(0, 1, len(test)),
                "test_cache": caches["test"],
            }
        sets.append(
            G2NetDataset(
                train["path"].tolist(),
                train["target"].to_numpy(),
                ids=train["id"].tolist(),
                cache=caches["train"],
                **options,
                **pseudo,
            )
        )
    plain, on_device = sets
    assert on_device.on_device
    assert not plain.on_device
    for indices in CountedBatchSampler(len(plain), 16, shuffle=True, counters=(1, 2)):
        first, second = plain.__getitems__(indices), on_device.__getitems__(indices)
        assert set(first) == set(second)
        for key in first:
            assert torch.equal(first[key], second[key]), key


def test_the_strain_of_the_cache_stays_as_it_is(data: Path) -> None:
    held = device_cache(str(data / "train_cache.f32"), CPU)
    before = held.data.clone()
    index = load_index(data / "train.csv")
    dataset = G2NetDataset(None, ids=index["id"].tolist(), cache=held, norm_factor=(2, 2, 2))
    dataset.__getitems__([0, 1, 2])
    assert torch.equal(held.data, before)


def test_a_run_ends_alike(data: Path, tmp_path: Path) -> None:
    caches = tuple(f"{split}_cache={data / split}_cache.f32" for split in ("train", "test"))
    run_here(data, tmp_path / "file", settings=caches)
    run_here(data, tmp_path / "held", "--cache_device", settings=caches)
    assert same_arrays(tmp_path / "file" / "demo", tmp_path / "held" / "demo")


def test_without_caches_it_is_refused(data: Path, tmp_path: Path) -> None:
    done = run_here(data, tmp_path, "--cache_device", code=2)
    assert "--cache_device needs caches" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_cache_that_does_not_fit_is_refused(data: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**30))
    device = types.SimpleNamespace(type="cuda")
    with pytest.raises(UserError, match="leave it out, and the cache is read from disk"):
        DeviceCache(StrainCache(data / "train_cache.f32"), device)


@pytest.mark.slow
def test_a_compiled_run_ends_nearly_alike(data: Path, tmp_path: Path) -> None:
    run_here(data, tmp_path / "plain")
    run_here(data, tmp_path / "compiled", "--compile")
    first, second = (
        np.load(tmp_path / kind / "demo" / "outoffolds.npy") for kind in ("plain", "compiled")
    )
    # Compiled code sums in another order; two epochs of training make more of the difference.
    np.testing.assert_allclose(first, second, rtol=0.05, atol=0.02)
