"""The strain files that the command line names: `--strain H1=FILE L1=FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data.gwf_files import GWFStrain
from data.hdf5_files import HDF5Strain
from data.recording import Recording, Source
from physics.observation import COMPETITION, Observation
from physics.sites import SITES
from runtime.errors import UserError, nearest


def open_recordings(
    words: Sequence[str], channels: Sequence[str] = (), *, observation: Observation = COMPETITION
) -> dict[str, Recording]:
    """Open the strain files that the command line names.

    Args:
        words: 'H1=FILE', or 'h1=FILE'; several files of one detector are joined.
        channels: 'H1=NAME' of frame files.
        observation: detectors that the networks observe, and the rate that they need.

    Raises:
        UserError: a word has another form, the detector is not observed, or a file cannot be used.
    """
    names = dict(split_at_detector(word, "--channel", "NAME", observation) for word in channels)
    sources: dict[str, list[Source]] = {}
    for word in words:
        detector, text = split_at_detector(word, "--strain", "FILE", observation)
        path = Path(text)
        if not path.is_file():
            raise UserError(f"--strain {word}: there is no file {path}: check its name")
        source = open_source(path, detector, names.get(detector), observation.sample_rate)
        sources.setdefault(detector, []).append(source)
    return {
        name: Recording(name, sources[name]) for name in observation.detectors if name in sources
    }


def open_source(
    path: Path,
    detector: str,
    channel: str | None = None,
    lowest_rate: int = COMPETITION.sample_rate,
) -> Source:
    """Open a strain file, HDF5 as GWOSC lays it out or GWF.

    Args:
        path: the file.
        detector: whose strain it should be.
        channel: of a frame file; see `GWFStrain`.
        lowest_rate: Hz, that the networks need.

    Raises:
        UserError: it is no strain file, or cannot be used.
    """
    with open(path, "rb") as file:
        magic = file.read(8)
    if magic == b"\x89HDF\r\n\x1a\n":
        return HDF5Strain(path, detector, lowest_rate)
    if magic[:4] == b"IGWD":
        return GWFStrain(path, detector, channel, lowest_rate)
    raise UserError(f"{path} is neither HDF5 nor GWF: expected a strain file of GWOSC")


def split_at_detector(
    word: str, option: str, what: str, observation: Observation
) -> tuple[str, str]:
    """Return ('H1', 'value') for 'H1=value'.

    Raises:
        UserError: the word has another form, or the detector is unknown or not observed.
    """
    written, equals, text = word.partition("=")
    if not equals or not text:
        raise UserError(f"{option} {word!r}: expected DETECTOR={what}, e.g. H1={what}")
    detector, observed = written.upper(), observation.detectors
    if detector not in SITES:
        raise UserError(
            f"{option} {word}: there is no detector {written!r}{nearest(detector, observed)}: "
            f"choose from {', '.join(observed)}"
        )
    if detector not in observed:
        raise UserError(
            f"{option} {word}: the networks observe {', '.join(observed)} and not {detector}: "
            f"leave {detector} out, or give --config and --set of networks that observe it"
        )
    return detector, text
