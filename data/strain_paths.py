"""The strain files that one word of the command line stands for, and what their names say.

A word names a file, a glob such as 'data/H-*.hdf5', a folder, a list of paths (.txt, .lst) or a
frame cache: LAL's (.lcf, .cache: observatory, type, start, duration, URL) or Virgo's (.ffl: path,
start, duration). Names of strain files follow LIGO-T050017, OBSERVATORY-TYPE-START-DURATION, as in
H-H1_GWOSC_4KHZ_R1-1126259447-32.hdf5.
"""

from __future__ import annotations

import glob
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import UserError

SUFFIXES = (".hdf5", ".hdf", ".h5", ".gwf", ".txt.gz")  # of strain files in a folder
LISTS = (".txt", ".lst", ".list")
CACHES = (".lcf", ".cache", ".ffl")
STANDARD_NAME = re.compile(r"(?P<sites>[A-Z]+)-(?P<type>[^-]+)-(?P<start>\d+)-(?P<seconds>\d+)\.")
OWN_DETECTOR = re.compile(r"([A-Z]\d)(_|Online|$)")  # how a type begins: H1_HOFT_C00
RELEASE = re.compile(r"(GWOSC|LOSC)_(?:.*_)?(4|16)(?:KHZ)?_([RV]\d+)$")
TIME = re.compile(r"\d+(\.\d*)?")  # start or duration in a cache, s
MAX_LIST_BYTES = 2**26  # a list of a million paths; more is no list


def find_strain_files(text: str, detector: str, option: str) -> list[Path]:
    """Return the files that a word stands for, sorted by name where it does not order them.

    In folders, globs, lists and caches, files whose names say that they hold other detectors are
    left out.

    Args:
        text: file, glob, folder, list or cache.
        detector: whose strain is wanted.
        option: what to call the word in messages, such as "--strain H1=data".

    Raises:
        UserError: there is no such file, or a folder, glob, list or cache yields none.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES))
        found = [file for file in inside if file.is_file() and may_hold(file, detector)]
        if not found:
            raise UserError(
                f"{option}: the folder {path} has no strain files of {detector} "
                f"({', '.join(SUFFIXES)}), only {name_some(inside or sorted(path.iterdir()))}: "
                f"name the folder that holds them, or a glob such as '{path}/*/*.hdf5'"
            )
        return found
    if not path.is_file() and glob.has_magic(text):
        matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        found = [file for file in matches if file.is_file() and may_hold(file, detector)]
        if not found:
            raise UserError(
                f"{option}: no file of {detector} matches {text!r}"
                f"{f', only {name_some(matches)}' if matches else ''}: check the pattern"
            )
        return found
    if not path.is_file():
        raise UserError(f"{option}: there is no file {path}: check its name")
    suffix = path.suffix.lower()
    if suffix in CACHES:
        return read_cache(path, detector, option)
    if suffix in LISTS and not holds_numbers(path):
        return read_list(path, detector, option)
    return [path]


def name_some(paths: Sequence[Path]) -> str:
    """Return the first few names, for a message."""
    names = [path.name for path in paths[:3]]
    return ", ".join(names) + (", …" if len(paths) > 3 else "") if names else "nothing"


# --- what a name says -----------------------------------------------------------------------------


def may_hold(path: Path, detector: str) -> bool:
    """Return whether the name of a file allows that it holds strain of a detector."""
    match = STANDARD_NAME.match(path.name)
    if match is None:
        return True
    own = OWN_DETECTOR.match(match["type"])
    return own[1] == detector if own else detector[0] in match["sites"]


def detector_of_name(path: Path) -> str | None:
    """Return the detector that a name states, as in H-H1_GWOSC_…; None where it states none."""
    match = STANDARD_NAME.match(path.name)
    own = OWN_DETECTOR.match(match["type"]) if match else None
    return own[1] if own else None


def calibration_of_name(path: Path) -> str:
    """Return the release of GWOSC's strain that a name states, as its frames name the channel.

    H-H1_LOSC_4_V2-1126259446-32.hdf5 is of LOSC-4KHZ_V2_STRAIN. The contents of GWOSC's oldest
    files and of its text files do not say so. An empty text where the name has another form.
    """
    match = STANDARD_NAME.match(path.name)
    release = RELEASE.search(match["type"]) if match else None
    return f"{release[1]}-{release[2]}KHZ_{release[3]}_STRAIN" if release else ""


# --- lists and caches -----------------------------------------------------------------------------


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not empty and no comments, with their numbers.

    Raises:
        UserError: it is no text, or holds no such line.
    """
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise UserError(f"{path} is too large for a list of files: name strain files in it")
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): name a list of paths") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise UserError(f"{path} names no file: expected a path on each line")
    return lines


def holds_numbers(path: Path) -> bool:
    """Return whether the first line of a text file that is no comment is a number, as of strain."""
    with open(path, errors="replace") as file:
        for line in file:
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    float(line)
                except ValueError:
                    return False
                return True
    return False


def read_list(path: Path, detector: str, option: str) -> list[Path]:
    """Return the files of a detector in a list; relative paths start at the folder of the list.

    Raises:
        UserError: a line names no file, or none is of the detector.
    """
    lines = read_lines(path)
    found = [
        existing_file(path, number, path.parent / Path(line).expanduser(), option)
        for number, line in lines
        if may_hold(Path(line), detector)
    ]
    if not found:
        others = name_some([Path(line) for _, line in lines])
        raise UserError(
            f"{option}: {path} has no files of {detector}, only {others}: name a list of {detector}"
        )
    return found


def read_cache(path: Path, detector: str, option: str) -> list[Path]:
    """Return the files of a detector in a frame cache.

    Raises:
        UserError: a line has another form, names no file or a URL of another machine, or none is
            of the detector.
    """
    found, others = [], set()
    for number, line in read_lines(path):
        words = line.split()
        # Virgo: '/path 1126256640 4096 0 0'
        if len(words) >= 3 and TIME.fullmatch(words[1]) and TIME.fullmatch(words[2]):
            url, sites = words[0], words[0]
            wanted = may_hold(Path(url), detector)
        # LAL: 'H H1_HOFT_C00 1126256640 4096 file://localhost/path'; '-' is what is not known
        elif len(words) == 5 and all(TIME.fullmatch(word) or word == "-" for word in words[2:4]):
            sites, kind, url = words[0], words[1], words[4]
            own = OWN_DETECTOR.match(kind)
            wanted = own[1] == detector if own else detector[0] in sites
        else:
            raise UserError(
                f"{path}, line {number}: {line[:60]!r}: expected 'observatory type start duration "
                f"URL' of a LAL cache, or 'path start duration' of a Virgo one"
            )
        if wanted:
            found.append(existing_file(path, number, local_path(path, number, url), option))
        else:
            others.add(sites)
    if not found:
        whose = ", ".join(sorted(others)[:3])
        raise UserError(
            f"{option}: {path} has no files of {detector}, only of {whose}: name a cache of "
            f"{detector}"
        )
    return found


def local_path(cache: Path, number: int, url: str) -> Path:
    """Return the path of a URL such as file://localhost/path, or of a plain path.

    Raises:
        UserError: the URL is of another machine.
    """
    parts = urllib.parse.urlsplit(url)
    if not parts.scheme:
        return cache.parent / url
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise UserError(
            f"{cache}, line {number}: {url} is not on this machine: download it and name its path"
        )
    return Path(urllib.parse.unquote(parts.path))


def existing_file(source: Path, number: int, path: Path, option: str) -> Path:
    """Return a path that a line names.

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(
            f"{option}: there is no file {path}, which {source} names in line {number}: correct "
            f"this line"
        )
    return path
