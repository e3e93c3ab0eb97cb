"""Faults of samples on disk: files that are missing, damaged, silent, doubled or not listed.

Targets that parameters.csv contradicts are faults as well.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data.injected_signals import find_contradictions
from data.sample_files import list_sample_files, read_strain
from physics.observation import COMPETITION, Sampling
from runtime.console import progress
from runtime.errors import UserError
from runtime.worker_pool import run_parallel

if TYPE_CHECKING:
    import pandas as pd


CHECK_CHUNK = 64  # files a task


class Fault(NamedTuple):
    """A file that is not as it should be.

    Attributes:
        split: 'train' or 'test'.
        path: of the file, below the root.
        problem: 'missing' or 'unlisted' (a file without a label), 'unreadable' (cut short, or no
            `.npy` file), 'wrong shape', 'wrong dtype', 'non-finite', 'silent' (a channel of one
            constant value), 'duplicate' (the same strain as a file before it, in either split) or
            'contradicted' (noise that holds an injection by parameters.csv, or a signal that holds
            none).
        detail: what was found.
    """

    split: str
    path: str
    problem: str
    detail: str


def find_faults(
    root: Path,
    tables: Mapping[str, pd.DataFrame],
    processes: int,
    sampling: Sampling = COMPETITION.sampling,
) -> tuple[list[Fault], int]:
    """Read every file of all splits; return the faults and the number of files read.

    Args:
        root: the folder of the samples.
        tables: (id, target, path) of each split; paths are below the root.
        processes: the largest number of reading processes.
        sampling: what the files are samples of.
    """
    faults: list[Fault] = []
    files: list[tuple[str, str]] = []  # split and path
    for split, table in tables.items():
        present, listed = set(list_sample_files(root / split, split)), set(table["path"])
        faults += [Fault(split, path, "missing", "") for path in sorted(listed - present)]
        faults += [Fault(split, path, "unlisted", "") for path in sorted(present - listed)]
        files += [(split, path) for path in table["path"] if path in present]

    digests: list[bytes] = [b""] * len(files)
    tasks = (
        (os.fspath(root), at, [path for _, path in files[at : at + CHECK_CHUNK]], sampling)
        for at in range(0, len(files), CHECK_CHUNK)
    )
    # A process costs more to start than a few files to read.
    processes = min(processes, max(1, len(files) // CHECK_CHUNK))
    with progress(total=len(files), desc="check", unit="file") as bar:
        for at, results in run_parallel(check_files, tasks, processes):
            for place, (digest, problem, detail) in enumerate(results, at):
                digests[place] = digest
                if problem:
                    faults.append(Fault(*files[place], problem, detail))
            bar.update(len(results))
    # Duplicates are looked for at the end: results come in any order, and the first file of the
    # tables is the one that is kept.
    first: dict[bytes, str] = {}
    for (split, path), digest in zip(files, digests, strict=True):
        if digest and first.setdefault(digest, path) != path:
            faults.append(Fault(split, path, "duplicate", f"same strain as {first[digest]}"))
    return faults, len(files)


def find_contradicted(root: Path, split: str, table: pd.DataFrame) -> list[Fault]:
    """Return the samples whose target contradicts the parameters.csv beside the table.

    Args:
        root: the folder of both.
        split: 'train' or 'test'.
        table: (id, target, path), targets from 0 to 1.
    """
    ids = table["id"].tolist()
    found = find_contradictions(root, ids, table["target"].to_numpy())
    paths = dict(zip(ids, table["path"], strict=True))
    return [Fault(split, paths[name], "contradicted", detail) for name, detail in found.items()]


def check_files(
    root: str, at: int, paths: list[str], sampling: Sampling
) -> tuple[int, list[tuple[bytes, str, str]]]:
    """Return for each file a digest of its strain (empty where unreadable), problem and detail."""
    return at, [check_file(os.path.join(root, path), sampling) for path in paths]


def check_file(path: str, sampling: Sampling) -> tuple[bytes, str, str]:
    """Return a digest of a file's strain (empty where unreadable), problem and detail."""
    try:
        strain = read_strain(path, sampling)
    except UserError as error:
        text = str(error).removeprefix(f"{path}: ").split(": ")[0]
        for words, problem in (
            ("wrong shape", "wrong shape"),
            ("wrong dtype", "wrong dtype"),
            ("non-finite", "non-finite"),
        ):
            if words in text:
                return b"", problem, text
        return b"", "unreadable", text
    digest = hashlib.blake2b(strain.tobytes(), digest_size=16).digest()
    silent = [
        name
        for name, channel in zip(sampling.detectors, strain, strict=True)
        if channel.min() == channel.max()
    ]
    return digest, "silent" if silent else "", " ".join(silent)


def format_check_report(faults: list[Fault]) -> bytes:
    """Return the content of the report, a line for each fault."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("split", "id", "path", "problem", "detail"))
    for split, name, problem, detail in sorted(faults):
        writer.writerow((split, Path(name).stem, name, problem, detail))
    # A file name may hold bytes that are not UTF-8, which Python keeps as lone surrogates.
    return text.getvalue().encode("utf-8", "surrogateescape")
