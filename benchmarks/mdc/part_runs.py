"""A part of a run: some of its segments, searched beside other parts, and what the run takes over.

Each part has the folder of a run of its own below that of the whole (see `search.parts`), so that
parts share nothing while they run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.mdc.run_folder import (
    LOCK,
    RUN,
    SEARCH,
    STRAIN,
    RunFolder,
    SearchFindings,
    check_identity,
)
from benchmarks.mdc.search_run import Search, run_searches
from benchmarks.mdc.strain_sources import StrainSource
from runtime.console import LOGGER
from runtime.files import read_json_object
from runtime.locks import hold
from search.conditioned_stretch import ConditioningSettings
from search.parts import BUSY, Part, part_folders, write_finished
from simulation.continuous_strain_files import Segment


def run_part(
    source: StrainSource,
    whole: RunFolder,
    part: Part,
    searches: Sequence[Search],
    conditioning: ConditioningSettings,
) -> None:
    """Search the segments of a part that neither it nor the whole run has searched.

    Args:
        source: of the strain of the whole run.
        whole: its folder, which is only read: other parts run meanwhile.
        part: of its segments.
        searches: with different keys.
        conditioning: of the strain.

    Raises:
        UserError: a folder holds other strain or another search, another process runs this part,
            or a scorer gave a NaN.
    """
    identities = {search.key: search.identity(conditioning) for search in searches}
    check_whole(whole, identities)
    own = RunFolder(part.folder(whole.path), whole.identity)
    segments = [
        segment
        for segment in part.take(source.segments())
        if not holds_segment(whole, identities, segment)
    ]
    with own.locked():
        run_searches(source, own, searches, conditioning, segments=segments)
        write_finished(own.path, {"strain": whole.identity, "searches": identities})


def check_whole(whole: RunFolder, identities: Mapping[str, Mapping]) -> None:
    """Check that the folder of the whole run, as far as it is begun, is of this run.

    Raises:
        UserError: it is of another one.
    """
    marks = {whole.path / RUN: ("strain", whole.identity)}
    marks |= {whole.path / key / SEARCH: ("search", each) for key, each in identities.items()}
    for mark, (what, identity) in marks.items():
        if mark.exists():
            plain = json.loads(json.dumps(identity))  # as it is read back: tuples are lists
            check_identity(mark, plain, what, "name another folder with --out")


def holds_segment(whole: RunFolder, keys: Mapping[str, Mapping], segment: Segment) -> bool:
    """Return whether a run holds a segment with the findings of all searches."""
    name = f"{segment.number:06d}.npz"
    found = all((whole.path / key / name).is_file() for key in keys)
    return found and whole.strain_file(segment).is_file()


def adopt_parts(whole: RunFolder, findings: Mapping[str, SearchFindings]) -> None:
    """Move the segments that parts of a run have searched into its own folder.

    Args:
        whole: the folder of the run, which this process holds.
        findings: of its searches, by key.

    Raises:
        UserError: another process runs a part.
    """
    adopted = 0
    for path in part_folders(whole.path):
        if not is_marked(path / RUN, whole.identity):
            LOGGER.warning(f"{path} is a part of another run and is left alone")
            continue
        with hold(path / LOCK, busy=BUSY.format(folder=path), temporary=True):
            for key, found in findings.items():
                mark = found.folder / SEARCH
                if is_marked(path / key / SEARCH, read_json_object(mark)):
                    adopted += move_missing(path / key, found.folder, "*.npz")
            # Last: a segment is complete where its strain and the files of all searches are.
            move_missing(path / STRAIN, whole.path / STRAIN, "*.json")
    if adopted:
        LOGGER.info(f"{adopted} files of segments that were searched in parts")


def is_marked(mark: Path, identity: Mapping) -> bool:
    """Return whether a mark exists and holds this identity."""
    return mark.is_file() and read_json_object(mark) == identity


def move_missing(source: Path, target: Path, pattern: str) -> int:
    """Move the files that a folder lacks from another one, and return how many there were."""
    moved = 0
    for file in sorted(source.glob(pattern)):
        # Hidden files were left half written by a process that was killed.
        if not file.name.startswith(".") and not (target / file.name).exists():
            target.mkdir(exist_ok=True)
            os.replace(file, target / file.name)
            moved += 1
    return moved
