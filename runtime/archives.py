"""Tensors from torch's files, read as mere data and only where memory is sure to hold them."""

from __future__ import annotations

import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

from runtime.errors import UserError


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """Return what `torch.save` wrote to a file, on the CPU; no code of the file is run.

    Raises:
        UserError: it unpacks to more than its own size.
        Exception: of torch's or pickle's many kinds, if it is damaged or holds more than tensors
            and plain values. The caller says which kind of file was expected.
    """
    check_archive(path)
    import torch

    with warnings.catch_warnings():  # of formats that the caller refuses, in one sentence
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def check_archive(path: str | os.PathLike[str]) -> None:
    """Refuse an archive that unpacks to more than its own size, before any of it is read.

    torch stores tensors without compression. A small file from a stranger, compressed or with many
    entries of the same bytes, could fill the memory.

    Raises:
        UserError: it would.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # of another format or damaged: torch's reader says which
    size = Path(path).stat().st_size
    unpacked = sum(entry.file_size for entry in entries)
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or unpacked > size:
        raise UserError(
            f"{path} is compressed: its {size / 2**20:.3g} MiB would unpack to "
            f"{unpacked / 2**20:.3g} MiB, and torch.save never compresses: use a file as "
            f"torch.save wrote it"
        )
