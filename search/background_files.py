"""The background of other searches: their triggers.hdf5, if they rank triggers as this one does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.recording import file_digest
from runtime.errors import UserError
from search.search_file import SearchFile, read_search_file

# What decides the score of a trigger, and how many triggers noise makes.
RANKING = (
    "scoring",
    "window step",
    "networks",
    "network settings",
    "views",
    "observation",
    "arrival",
)
RANKING_SETTINGS = ("step", "cluster", "psd_every", "gate_snr", "zeros")


def find_other_ranking(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return in which respects two searches, by their identities, rank triggers differently."""
    different = [name for name in RANKING if one.get(name) != other.get(name)]
    own, theirs = one.get("settings", {}), other.get("settings", {})
    flags = [f"--{name}" for name in RANKING_SETTINGS if own.get(name) != theirs.get(name)]
    if "--step" in flags and "window step" in different:
        different.remove("window step")  # the flag says so
    return different + flags


def read_background_files(
    paths: Sequence[Path], identity: Mapping[str, Any], slides: int
) -> list[SearchFile]:
    """Return the searches whose time slides join the background of this one.

    Args:
        paths: of their triggers.hdf5.
        identity: of this search.
        slides: time slides of this search.

    Raises:
        UserError: a file cannot be read, is given twice, ranks triggers in another way, or has slid
            the strain of this search or of another file.
    """
    files: list[SearchFile] = []
    slid: dict[str, str] = {}  # digests of strain and who has slid it
    if slides:
        slid = dict.fromkeys(strain_digests(identity), "this search")
    for path in paths:
        file = read_search_file(path)
        different = find_other_ranking(identity, file.identity)
        if different:
            raise UserError(
                f"--background {path} is of a search with other {', '.join(different)}, whose "
                f"scores mean something else: give one of the same networks and settings"
            )
        twice = [slid[digest] for digest in strain_digests(file.identity) if digest in slid]
        if twice:
            raise UserError(
                f"--background {path} holds time slides of strain that {twice[0]} slides as well, "
                f"and would count it twice: leave it out, or search with --slides 0"
            )
        slid |= dict.fromkeys(strain_digests(file.identity), f"--background {path}")
        files.append(file)
    return files


def strain_digests(identity: Mapping[str, Any]) -> list[str]:
    """Return the digests of all strain of a search."""
    strain = identity.get("strain", {})
    return [digest for digests in strain.values() for digest in digests]


def digest_background_files(paths: Sequence[Path]) -> list[str]:
    """Return a digest of the content of each file, as the identity of a search has them.

    Raises:
        UserError: there is no such file.
    """
    for path in paths:
        if not path.is_file():
            raise UserError(f"--background {path}: there is no such file: check its name")
    return [file_digest(path) for path in paths]
