"""Checkpoints: tensors and plain types only, written whole or not at all, read as mere data."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from runtime.archives import read_torch_file
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import atomic_path

ESCAPE_CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # torch prints some of its messages in bold


def save_checkpoint(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    try:
        with (
            atomic_path(path, size=tensor_bytes(content)) as temporary,
            open(temporary, "wb") as file,
        ):
            stream = Stream(file)
            torch.save(dict(content), stream)
            if stream.error is not None:
                raise stream.error
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror}): let this user write there and start "
            f"again with --resume; earlier checkpoints are untouched"
        ) from error


class Stream:
    """What `torch.save` writes to, piece by piece: a checkpoint is never in memory as a whole.

    torch reports an error of what it writes to as one of several internal errors, so that the first
    error of the disk is kept for afterwards, and what would follow is dropped.

    Args:
        file: open for writing.

    Attributes:
        error: the first error; None where all is written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        if self.error is None:
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Write what the file keeps back; torch calls it at the end."""
        if self.error is None:
            try:
                self.file.flush()
            except OSError as error:
                self.error = error


def tensor_bytes(content: Any) -> int:
    """Return how many bytes the tensors in dicts, lists and tuples take."""
    if isinstance(content, torch.Tensor):
        return content.nbytes
    if isinstance(content, Mapping):
        return sum(tensor_bytes(value) for value in content.values())
    return sum(map(tensor_bytes, content)) if isinstance(content, list | tuple) else 0


def load_checkpoint(path: str | os.PathLike[str], keys: tuple[str, ...] = ("model",)) -> dict:
    """Read a checkpoint onto the CPU with `weights_only=True`, so that it cannot run code.

    Raises:
        UserError: it is missing, damaged, would run code, unpacks to more than its own size, or
            lacks one of `keys`.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"the checkpoint {path} does not exist: train that fold first")
    try:
        content = read_torch_file(path)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {path} holds more than tensors and plain values, or is damaged, and "
            f"is not loaded: use a file written by this toolkit"
        ) from error
    # What a damaged file raises depends on where it is damaged.
    except Exception as error:
        raise UserError(
            f"the checkpoint {path} is damaged ({first_line(error)}): remove it and "
            f"train that fold again"
        ) from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(
            f"the checkpoint {path} has no entry {missing[0]!r}: it was not written by this toolkit"
        )
    return content


def content_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a digest of a state dict: of names, types, shapes and values, in no order.

    Files of the same weights may differ in their bytes, as torch's archives do between versions.
    """
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        # bfloat16 has no numpy type: any tensor as its bytes. Of no dimension: (1,) first.
        content.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without escape codes of colours."""
    text = ESCAPE_CODES.sub("", str(error))
    return (text.splitlines() or [type(error).__name__])[0]


def load_model(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a fold's weights, every one of them.

    Raises:
        UserError: the checkpoint belongs to another network.
    """
    state = load_checkpoint(path)["model"]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        # torch's first line only names the class of the network.
        _, _, lines = str(error).partition("\n")
        first = (lines or str(error)).strip().splitlines()[0]
        raise UserError(
            f"the checkpoint {path} belongs to another network ({first}): use the config it was "
            f"trained with"
        ) from error


def adopt_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Start from another experiment's weights: whatever agrees in name and shape is loaded.

    The rest keeps its initial values and is named in the log.

    Raises:
        UserError: nothing agrees.
    """
    state = load_checkpoint(path)["model"]
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise UserError(f"no weight in {path} fits this network: it belongs to another one")
    model.load_state_dict(fitting, strict=False)
    rest = [name for name in own if name not in fitting]
    left = f"; left as they began: {', '.join(rest[:5])}" if rest else ""
    more = f" and {len(rest) - 5} more" if len(rest) > 5 else ""
    LOGGER.info(f"{len(fitting)} of {len(own)} tensors taken from {path}{left}{more}")
