"""Trained weights in one small file: safetensors with the config, the record and the scores.

The repository ships some in weights/. A file becomes a run directory in the cache folder, under the
digest of its bytes, with config.json and the weights of each fold. From there on everything that
takes a run takes it: predict.py, detect.py, export.py and the benchmarks.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from physics.cache_folder import cache_folder
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import atomic_path
from training.checkpoints import content_digest, save_checkpoint

SUFFIX = ".safetensors"
SHIPPED = Path(__file__).parents[1] / "weights"
FORMAT = "1"
UNPACKED = "unpacked.json"  # digests of the files in a folder of unpacked weights
# Smaller tensors keep float32: they are few bytes, and amplitudes act directly on scores.
SMALLEST_HALF = 1000  # numbers


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        path: of the file.
        config: as in config.json of a run.
        record: what the card says: recipe, score, licence, versions, and the like.
        folds: the state dict of each fold, float32.
    """

    path: Path
    config: Mapping[str, Any]
    record: Mapping[str, Any]
    folds: Mapping[int, dict[str, Tensor]]


def find_weight_file(reference: str) -> Path:
    """Return the path of `wave07`, shipped in weights/, or of a file that is named by its path.

    Raises:
        UserError: there is no such file.
    """
    path = Path(reference)
    if path.suffix == SUFFIX:
        if path.is_file():
            return path
        raise UserError(f"--weights {reference}: there is no such file: check its path")
    shipped = {file.stem: file for file in SHIPPED.glob(f"*{SUFFIX}")}
    if reference in shipped:
        return shipped[reference]
    names = ", ".join(sorted(shipped)) or "none"
    raise UserError(
        f"--weights {reference}: expected one of the weights that are shipped ({names}), or a "
        f"file that ends in {SUFFIX}"
    )


def write_weight_file(
    path: Path,
    folds: Mapping[int, Mapping[str, Tensor]],
    config: Mapping[str, Any],
    record: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Write weights, whole or not at all.

    Args:
        folds: the state dict of each fold.
        config: of the run, in JSON's own types.
        record: anything else that is worth to be known, in JSON's own types.
        half: store large tensors in float16, which halves the file.
    """
    tensors = {}
    for fold, state in folds.items():
        for key, value in state.items():
            large = value.is_floating_point() and value.numel() >= SMALLEST_HALF
            stored = value.half() if half and large else value
            # A copy: safetensors refuses tensors that share memory.
            tensors[f"fold{fold}.{key}"] = stored.detach().cpu().contiguous().clone()
    # The metadata of a safetensors file is text.
    metadata = {"config": json.dumps(config), "record": json.dumps(record), "format": FORMAT}
    with atomic_path(path) as temporary:
        # Not `save_file`, whose files nobody but their owner may read.
        temporary.write_bytes(save(tensors, metadata=metadata))


def read_weight_file(path: Path) -> WeightFile:
    """Read weights; safetensors holds numbers and text alone, and cannot run code.

    Raises:
        UserError: the file is damaged, or it holds no config.
    """
    folds: dict[int, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 - the file is no mapping
                fold, _, name = key.partition(".")
                value = file.get_tensor(key)
                full = value.float() if value.dtype == torch.float16 else value
                folds.setdefault(int(fold.removeprefix("fold")), {})[name] = full
        config = json.loads(metadata["config"])
        record = json.loads(metadata.get("record", "{}"))
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is damaged or holds no weights of this toolkit ({error}): restore it, or "
            f"write it again with export.py --format safetensors"
        ) from error
    if not isinstance(config, dict) or not isinstance(record, dict) or not folds:
        raise UserError(
            f"{path} holds no config or no weights of a fold: write it again with export.py "
            f"--format safetensors"
        )
    return WeightFile(path, config, record, folds)


def unpack_weights(path: Path) -> Path:
    """Return a run directory with the config and the weights of a file.

    It lies in the cache folder under the digest of the file's bytes, is made once, and appears
    whole or not at all. One that was damaged since is made again.

    Raises:
        UserError: the file is damaged.
    """
    digest = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    folder = cache_folder() / f"weights-{digest}"
    if is_as_unpacked(folder):
        return folder
    content = read_weight_file(path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".weights-{digest}.", dir=folder.parent))
    try:
        for fold, state in content.folds.items():
            finished = content.record.get("finished", {}).get(str(fold), True)
            record = {
                # of a training that was stopped early, too: its weights are final
                "epoch": content.config.get("num_epochs", 0) if finished else 0,
                "finished": finished,
                "weights": content_digest(state),
            }
            save_checkpoint(temporary / f"fold{fold}.pt", {"model": state, "state": record})
        (temporary / "config.json").write_text(json.dumps(content.config, indent=1) + "\n")
        if content.record.get("learnt_from") == []:
            # Trained on simulated noise and injections alone: no sample of a table was learnt from.
            for name in ("ids_train.npy", "folds.npy"):
                np.save(temporary / name, np.empty(0, "U1" if "ids" in name else np.int64))
        written = {file.name: byte_digest(file) for file in temporary.iterdir()}
        (temporary / UNPACKED).write_text(json.dumps(written, indent=1) + "\n")
        if folder.is_dir() and not is_as_unpacked(folder):
            LOGGER.warning(f"{folder} is damaged and is unpacked again from {path}")
            # Out of the way in one step: another process sees the old folder or the new one.
            damaged = Path(tempfile.mkdtemp(prefix=f".damaged-{digest}.", dir=folder.parent))
            with contextlib.suppress(FileNotFoundError):  # another process does the same
                os.rename(folder, damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not is_as_unpacked(folder):  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def byte_digest(path: Path) -> str:
    """Return a digest of the bytes of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def is_as_unpacked(folder: Path) -> bool:
    """Whether a folder of unpacked weights is there, with every file as it was written."""
    try:
        written = json.loads((folder / UNPACKED).read_text())
        return all(byte_digest(folder / name) == digest for name, digest in written.items())
    # Of an earlier version, which kept no digests, or damaged in any way.
    except (OSError, ValueError, AttributeError, TypeError):
        return False
