"""The folders in which files are kept between runs, and how much is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from physics.cache_folder import cache_folder

# What the names of kept files begin with, and what they are.
KINDS = {
    "whitening-": "whitening matrices",
    "band-pass-": "band-pass matrices",
    "edges-": "corrections at a window's edges",
    "waveforms-": "waveform banks",
    "templates-": "choices of templates",
    "strain-": "conditioned strain",
    "weights-": "weights of exported runs",
}


def pretrained_folder() -> Path:
    """Return where timm's pretrained weights are kept, as Hugging Face's packages choose it."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def files_below(path: Path) -> Iterator[Path]:
    """Yield the files below a folder; links, which Hugging Face's cache has, count once."""
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            if not file.is_symlink() and file.is_file():
                yield file


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; 0 where there is none."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in files_below(path))


def sizes_by_kind(folder: Path) -> dict[str, int]:
    """Return the bytes of each kind of kept file, those of none as 'other files'."""
    sizes: dict[str, int] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        words = [kind for start, kind in KINDS.items() if path.name.startswith(start)]
        kind = words[0] if words else "other files"
        sizes[kind] = sizes.get(kind, 0) + size_of(path)
    return sizes


def format_bytes(count: int) -> str:
    """Return '0 B', '340 MB' or '1.2 GB'."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            value = count / limit
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count} B"


def describe_cache() -> str:
    """Return where whitening matrices, banks and the like are kept, and how big they are."""
    folder = cache_folder()
    sizes = sizes_by_kind(folder)
    parts = ", ".join(f"{kind} {format_bytes(size)}" for kind, size in sizes.items())
    return f"{folder}: {parts or 'empty'} (G2NET_CACHE names another)"


def describe_pretrained() -> str:
    """Return where timm's pretrained weights are kept, and how big they are."""
    folder = pretrained_folder()
    return f"{folder}: {format_bytes(size_of(folder))}"
