"""Data sets for measurements: caches of random strain or of holes, and their tables."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from data.cache_writer import encode_ids
from data.strain_cache import encode_header, file_size, make_header
from data.table_sampling import write_sampling
from physics.constants import TYPICAL_STRAIN
from physics.observation import COMPETITION, Sampling

ROW_BYTES = 4 * math.prod(COMPETITION.shape)  # of a float32 sample of the competition
CHUNK = 1024  # rows drawn at a time, 48 MiB


def sample_ids(n: int, first: int = 0) -> list[str]:
    """Return ids of ten hexadecimal digits, as the competition's, in no order."""
    # An odd multiplier permutes the numbers below 2^40, so that no id comes twice.
    return [f"{number * 0x9E3779B97F % 2**40:010x}" for number in range(first, first + n)]


def write_random_cache(
    path: Path, ids: list[str], seed: int = 0, sampling: Sampling = COMPETITION.sampling
) -> None:
    """Write a cache of white noise with the amplitude of strain."""
    rng = np.random.default_rng(seed)
    write_sparse_cache(path, ids, sampling)
    offset = make_header(encode_ids(ids), "", sampling)["data_offset"]
    row_bytes = 4 * math.prod(sampling.shape)
    with open(path, "r+b") as file:
        for start in range(0, len(ids), CHUNK):
            rows = min(CHUNK, len(ids) - start)
            white = rng.standard_normal((rows, *sampling.shape), np.float32)
            strain = white * np.float32(TYPICAL_STRAIN)
            file.seek(offset + start * row_bytes)
            file.write(strain.tobytes())


def write_sparse_cache(
    path: Path, ids: list[str], sampling: Sampling = COMPETITION.sampling
) -> None:
    """Write a cache whose rows are a hole in the file, so that any size takes no space."""
    names = encode_ids(ids)
    header = make_header(names, "", sampling)
    with open(path, "wb") as file:
        file.write(encode_header(header) + names.tobytes())
        file.truncate(file_size(header))


def write_sample_table(path: Path, ids: list[str], files: list[str]) -> None:
    """Write a table (id, target, path) with targets 0 and 1 in turn."""
    lines = [
        f"{name},{i % 2},{file}" for i, (name, file) in enumerate(zip(ids, files, strict=True))
    ]
    path.write_text("\n".join(["id,target,path", *lines]) + "\n")


def write_data_set(
    folder: Path,
    n_train: int,
    n_test: int,
    seed: int = 0,
    sampling: Sampling = COMPETITION.sampling,
) -> list[str]:
    """Write tables and caches of random strain; return the settings that name them for a config."""
    settings = []
    write_sampling(folder, sampling)
    for split, first, n in (("train", 0, n_train), ("test", n_train, n_test)):
        ids = sample_ids(n, first)
        write_random_cache(folder / f"{split}.f32", ids, seed + (split == "test"), sampling)
        write_sample_table(folder / f"{split}.csv", ids, [f"{name}.npy" for name in ids])
        settings += [f"{split}_path={folder / split}.csv", f"{split}_cache={folder / split}.f32"]
    return settings
