"""Files of torch are read as mere data, and only if they are as large as what they hold."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from runtime.archives import read_torch_file
from runtime.errors import UserError


def compressed(source: Path, target: Path) -> Path:
    """Write the same archive with compression."""
    with (
        zipfile.ZipFile(source) as plain,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    return target


def test_tensors_come_back(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "a.pt")
    assert read_torch_file(tmp_path / "a.pt")["a"].tolist() == [0, 1, 2]


def test_an_archive_that_unpacks_to_more_than_its_size_is_not_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "a.pt")
    bomb = compressed(tmp_path / "a.pt", tmp_path / "bomb.pt")
    with pytest.raises(UserError, match=r"bomb\.pt is compressed: .* would unpack to 4 MiB"):
        read_torch_file(bomb)
