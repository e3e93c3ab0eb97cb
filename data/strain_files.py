"""The strain files that the command line names: `--strain H1=FILE L1=FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data.gwf_files import GWFStrain
from data.hdf5_series import open_hdf5_strain
from data.recording import Recording, Source, StrainRequest
from data.strain_paths import find_strain_files
from data.text_files import GZIP_MAGIC, TextStrain
from physics.observation import COMPETITION, Observation
from physics.sites import SITES
from runtime.errors import UserError, nearest

HDF5_MAGIC, GWF_MAGIC = b"\x89HDF\r\n\x1a\n", b"IGWD"


def open_recordings(
    words: Sequence[str],
    channels: Sequence[str] = (),
    *,
    observation: Observation = COMPETITION,
    data_quality: tuple[str, ...] | None = None,
) -> dict[str, Recording]:
    """Open the strain files that the command line names.

    All files are opened and checked, and none is kept open or in memory.

    Args:
        words: 'H1=FILE' or 'h1=FILE', where FILE may also be a glob, a folder, a list of paths or
            a frame cache (see `data.strain_paths`); several files of one detector are joined.
        channels: 'H1=NAME' of files with several channels.
        observation: detectors that the networks observe, and the rate that they need.
        data_quality: bits that must be set where strain is used; see
            `data.quality_bits.parse_bits`.

    Raises:
        UserError: a word has another form, the detector is not observed, or a file cannot be used.
    """
    names = dict(split_at_detector(word, "--channel", "NAME", observation) for word in channels)
    files: dict[str, list[Path]] = {}
    for word in words:
        detector, text = split_at_detector(word, "--strain", "FILE", observation)
        found = find_strain_files(text, detector, f"--strain {word}")
        files.setdefault(detector, []).extend(found)
    unused = [name for name in names if name not in files]
    if unused:
        raise UserError(
            f"--channel {unused[0]}={names[unused[0]]}: there is no strain of {unused[0]}: give "
            f"--strain {unused[0]}=FILE, or leave the channel out"
        )
    recordings = {}
    for detector in observation.detectors:
        if detector in files:
            request = StrainRequest(detector, observation, names.get(detector), data_quality)
            recordings[detector] = open_recording(files[detector], request)
    return recordings


def open_recording(paths: Sequence[Path], request: StrainRequest) -> Recording:
    """Open files as the strain of one detector.

    Args:
        paths: in any order; there must be one or more.
        request: what is wanted of each.

    Raises:
        UserError: a file cannot be used, or the files do not fit together.
    """
    rates: dict[str, int] = {}
    sources = [source for path in paths for source in open_sources(path, request, rates)]
    return Recording(request.detector, sources)


def open_sources(
    path: Path, request: StrainRequest, known_rates: dict[str, int] | None = None
) -> list[Source]:
    """Open a strain file: HDF5, GWF or text.

    Args:
        path: the file.
        request: what is wanted of it.
        known_rates: of frame channels; see `GWFStrain`.

    Returns:
        The file as one source, or each segment that it has as one.

    Raises:
        UserError: it is no strain file, or cannot be used.
    """
    try:
        with open(path, "rb") as file:
            magic = file.read(8)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}): check its name and rights") from error
    if magic == HDF5_MAGIC:
        return open_hdf5_strain(path, request)
    if magic[:4] == GWF_MAGIC:
        return [GWFStrain(path, request, known_rates)]
    if magic[:2] == GZIP_MAGIC or magic[:1] == b"#":
        return [TextStrain(path, request)]
    raise UserError(
        f"{path} is neither HDF5 nor GWF nor text of GWOSC: expected a strain file of GWOSC, gwpy "
        f"or PyCBC"
    )


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
