"""Print digests of what runs computed, to show that a change of the code changes no result.

    python tests/helpers/digests.py results/check > before.txt
    python tests/helpers/digests.py results/check | diff before.txt -

Digests are of contents: of the weights in fold<k>.pt (names, shapes, types and values), of arrays,
and of the bytes of tables and caches. Logs, times, versions and everything else that differs
between two runs of the same code are left out, and so are the bytes of torch's archives, which
differ between its versions.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from runtime.command_line import CommandLine, run_command  # noqa: E402 - beside the path above
from runtime.errors import UserError  # noqa: E402
from training.checkpoints import content_digest, load_checkpoint  # noqa: E402

# Tables of results. history.csv repeats what fold<k>.json holds, with the seconds of each epoch.
TABLES = ("submission.csv", "stack.csv", "scores.csv", "triggers.csv", "train.csv", "test.csv")


def array_digest(path: Path) -> str:
    """Return a digest of an array's type, shape and values."""
    array = np.load(path, allow_pickle=False)
    content = hashlib.sha256(f"{array.dtype.str} {array.shape}\0".encode())
    content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def table_digest(path: Path) -> str:
    """Return a digest of a table without the columns that hold a duration."""
    with open(path, newline="") as file:
        head, *rows = csv.reader(file)
    kept = [place for place, name in enumerate(head) if name != "seconds"]
    lines = [",".join(row[place] for place in kept) for row in (head, *rows)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_digest(path: Path) -> str | None:
    """Return the digest of what a file of a run holds; None of a file that is no result."""
    if path.suffix == ".pt":
        return content_digest(load_checkpoint(path)["model"])
    if path.suffix == ".npy":
        return array_digest(path)
    if path.name in TABLES:
        return table_digest(path)
    if path.suffix == ".f32":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def digests_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the path below the folder and the digest of every result, in the order of the paths."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest = file_digest(path)
        if digest is not None:
            yield path.relative_to(folder).as_posix(), digest


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="+", help="results folders, or single runs")
    for folder in parser.parse_args(argv).folder:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: name a results folder or a run directory")
        for name, digest in digests_of(folder):
            print(f"{digest[:16]}  {name}")
    return 0


if __name__ == "__main__":
    run_command(main)
