"""Where files are kept, what they are, and how big."""

from __future__ import annotations

from pathlib import Path

import pytest

from doctor.kept_files import (
    KINDS,
    describe_cache,
    describe_pretrained,
    format_bytes,
    pretrained_folder,
    size_of,
    sizes_by_kind,
)
from physics.cache_folder import KEPT


def write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def test_every_kind_of_kept_file_is_known() -> None:
    assert set(KEPT) <= set(KINDS)


def test_sizes_are_those_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "whitening-a.npy", 300)
    write(tmp_path / "whitening-b.npy", 200)
    write(tmp_path / "templates-c.json", 7)
    write(tmp_path / "weights-d" / "config.json", 11)
    write(tmp_path / "mine.txt", 5)
    assert sizes_by_kind(tmp_path) == {
        "other files": 5,
        "choices of templates": 7,
        "weights of exported runs": 11,
        "whitening matrices": 500,
    }
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path))
    text = describe_cache()
    assert text.startswith(f"{tmp_path}: ")
    assert "whitening matrices 500 B" in text
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path / "none"))
    assert describe_cache() == f"{tmp_path / 'none'}: empty (G2NET_CACHE names another)"


def test_links_of_the_pretrained_weights_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "hub" / "models--a" / "blobs" / "x", 1500)
    (tmp_path / "hub" / "models--a" / "model.safetensors").symlink_to("blobs/x")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert pretrained_folder() == tmp_path / "hub"
    assert describe_pretrained() == f"{tmp_path / 'hub'}: 1.5 kB"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "other"))
    assert size_of(pretrained_folder()) == 0


def test_sizes_are_read_at_a_glance() -> None:
    sizes = (0, 999, 1500, 34_200_000, 1.24e9, 2.4e11)
    assert [format_bytes(int(size)) for size in sizes] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "34 MB",
        "1.2 GB",
        "240 GB",
    ]
