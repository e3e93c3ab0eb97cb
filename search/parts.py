"""Parts of a long search, each searched by a process of its own, on this machine or another.

Part 3 of 30 searches the third thirtieth of the stretches, in order of time, into a folder below
that of the whole search:

    <out>/.parts/0003_of_0030/     what it found, from where it resumes
    <out>/.parts/0003_of_0030/finished.json
                                   written last: of which search it is

The whole search takes over what its parts have found and searches what they have not. It therefore
gives what one process would have given, whichever parts there are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from runtime.errors import UserError
from runtime.files import write_json

PARTS, FINISHED = ".parts", "finished.json"
# What to say of a part that another process searches, with the place of its folder.
BUSY = "{folder} is in use by {{owner}}: wait for it, or end it"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """A part of a search.

    Attributes:
        number: from 1.
        count: how many parts there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Return part 3 of 30 for '3/30'.

        Raises:
            UserError: it is none.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--part {text!r}: expected a part and their number, such as 1/30")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def name(self) -> str:
        """The name of its folder; in order of the parts."""
        return f"{self.number:04d}_of_{self.count:04d}"

    def folder(self, whole: Path) -> Path:
        """Return its folder below that of the whole search."""
        return whole / PARTS / self.name

    def take(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of this part: neighbours, as many as in other parts or one more."""
        first, end = (len(items) * n // self.count for n in (self.number - 1, self.number))
        return list(items[first:end])


def part_folders(whole: Path) -> list[Path]:
    """Return the folders of all parts that were begun, in order."""
    folder = whole / PARTS
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def digest_identity(identity: Any) -> str:
    """Return a digest of all that decides the results of a search, in JSON types."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def write_finished(folder: Path, identity: Any) -> None:
    """Say in the folder of a part that it is searched to its end, and of which search it is."""
    write_json(folder / FINISHED, {"identity": digest_identity(identity)})
