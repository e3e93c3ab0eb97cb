"""Checkpoints are written whole, refuse what could run code, and say what is wrong."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from torch import nn

from runtime.console import LOGGER
from runtime.errors import UserError
from training import checkpoints
from training.checkpoints import (
    adopt_weights,
    content_digest,
    first_line,
    load_checkpoint,
    load_model,
    save_checkpoint,
    tensor_bytes,
)


def test_round_trip(tmp_path) -> None:
    content = {"model": {"w": torch.arange(3.0)}, "state": {"epoch": 3, "history": [{"a": 0.1}]}}
    save_checkpoint(tmp_path / "a.pt", content)
    back = load_checkpoint(tmp_path / "a.pt", ("model", "state"))
    assert torch.equal(back["model"]["w"], content["model"]["w"])
    assert back["state"] == content["state"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_code_in_a_checkpoint_is_not_run(tmp_path) -> None:
    target = tmp_path / "owned"
    torch.save({"model": Malicious(target)}, tmp_path / "torch.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"model": Malicious(target)}))
    for name in ("torch.pt", "plain.pt"):
        with pytest.raises(UserError, match="more than tensors"):
            load_checkpoint(tmp_path / name)
    assert not target.exists()


def test_missing_damaged_and_foreign_files(tmp_path) -> None:
    with pytest.raises(UserError, match="does not exist: train that fold first"):
        load_checkpoint(tmp_path / "none.pt")
    save_checkpoint(tmp_path / "whole.pt", {"model": {"w": torch.randn(10_000)}})
    content = (tmp_path / "whole.pt").read_bytes()
    for name, damaged in (("cut", content[:20_000]), ("empty", b""), ("text", b"hello" * 100)):
        (tmp_path / f"{name}.pt").write_bytes(damaged)
        with pytest.raises(UserError, match=f"{name}.pt"):
            load_checkpoint(tmp_path / f"{name}.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no entry 'model'"):
        load_checkpoint(tmp_path / "list.pt")


def test_a_file_that_unpacks_to_more_than_its_size_is_not_read(tmp_path) -> None:
    plain, bomb = tmp_path / "plain.pt", tmp_path / "bomb.pt"
    save_checkpoint(plain, {"model": {"w": torch.zeros(2**24)}})  # 64 MiB of zeros
    assert load_checkpoint(plain)["model"]["w"].numel() == 2**24
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert bomb.stat().st_size < 2**18
    with pytest.raises(UserError, match=r"bomb.pt is compressed: .* would unpack to 64 MiB"):
        load_checkpoint(bomb)


def test_messages_have_no_escape_codes() -> None:
    assert first_line(RuntimeError("\x1b[1mWeights only\x1b[0m load failed\nmore")) == (
        "Weights only load failed"
    )


def test_a_checkpoint_is_never_in_memory_as_a_whole(tmp_path) -> None:
    content = {"model": {"w": torch.ones(2**22)}, "optimizer": [torch.ones(2**22), {"lr": 0.1}]}
    assert tensor_bytes(content) == 2**25
    tracemalloc.start()
    try:
        save_checkpoint(tmp_path / "a.pt", content)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    # what it would be, had it been built there
    whole = io.BytesIO()
    torch.save(content, whole)
    assert (tmp_path / "a.pt").read_bytes() == whole.getvalue()


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"model": {"w": torch.ones(2)}})
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_checkpoint(path, {"model": lambda: None})  # cannot be written
    assert torch.equal(load_checkpoint(path)["model"]["w"], torch.ones(2))
    assert [found.name for found in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_named(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, {"model": {"w": torch.ones(2)}})

    def open_full(path: Path, mode: str) -> BinaryIO:
        return open("/dev/full", mode)  # Linux's own full disk

    monkeypatch.setattr(checkpoints, "open", open_full, raising=False)
    with pytest.raises(UserError, match=r"No space left on device.*free 4"):
        save_checkpoint(path, {"model": {"w": torch.randn(1_000_000)}})
    assert torch.equal(load_checkpoint(path)["model"]["w"], torch.ones(2))
    assert [found.name for found in tmp_path.iterdir()] == ["a.pt"]


def test_load_model_is_strict(tmp_path) -> None:
    model = nn.Linear(3, 2)
    save_checkpoint(tmp_path / "a.pt", {"model": model.state_dict()})
    other = nn.Linear(3, 2)
    load_model(other, tmp_path / "a.pt")
    assert torch.equal(other.weight, model.weight)
    for foreign in (nn.Linear(4, 2), nn.Conv1d(3, 2, 1)):
        with pytest.raises(UserError, match="belongs to another network"):
            load_model(foreign, tmp_path / "a.pt")


def test_adopt_weights_takes_what_fits_and_names_the_rest(tmp_path, monkeypatch, caplog) -> None:
    source = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    save_checkpoint(tmp_path / "a.pt", {"model": source.state_dict()})
    target = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    before = target[1].weight.clone()
    monkeypatch.setattr(LOGGER, "propagate", True)
    with caplog.at_level("INFO", logger=LOGGER.name):
        adopt_weights(target, tmp_path / "a.pt")
    assert torch.equal(target[0].weight, source[0].weight)
    assert torch.equal(target[1].weight, before)
    assert "2 of 4 tensors taken" in caplog.text
    assert "left as they began: 1.weight, 1.bias" in caplog.text
    with pytest.raises(UserError, match="no weight"):
        adopt_weights(nn.Conv1d(3, 2, 1), tmp_path / "a.pt")


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    one = {"a": torch.ones(2, 3), "b": torch.zeros(())}
    same = {"b": torch.zeros(()), "a": torch.ones(3, 2).T.contiguous()}
    assert content_digest(one) == content_digest(same)
    for other in (
        {**one, "a": torch.ones(3, 2)},
        {**one, "a": torch.ones(2, 3).double()},
        {**one, "a": torch.ones(2, 3) + 1e-7},
        {"a": one["a"], "c": one["b"]},
    ):
        assert content_digest(one) != content_digest(other)
    content_digest({"half": torch.ones(2, dtype=torch.bfloat16), "empty": torch.empty(0)})
