"""Continuous strain in files: noise of any length, and the same noise with injections.

`simulate_strain` writes segments of background and foreground, which `detect.py`, gwpy and PyCBC
read, and a table of the injections, from which bilby can compute them again. Segments are finished
one by one, so that a killed run resumes where it stopped, and every file is a function of the
settings alone: it is the same bit by bit, however often the run was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

from physics.polarisations import check_approximant
from runtime.console import LOGGER, format_seconds, progress
from runtime.errors import UserError
from runtime.files import atomic_path, move_aside, remove_temporaries, write_json
from runtime.machine import num_cores
from runtime.optional_packages import require
from runtime.worker_pool import run_parallel
from simulation.continuous_strain_files import (
    FINISHED,
    INJECTIONS,
    SEGMENTS,
    STARTED,
    Segment,
    StrainFile,
    find_strain,
    format_injection,
    injection_columns,
    read_record,
)
from simulation.dataset_files import (
    LOCK,
    check_settings,
    first_difference,
    locked_folder,
    write_table,
)
from simulation.strain_segments import SegmentStrain
from simulation.strain_settings import StrainSettings

SAMPLE_BYTES = 4  # float32
SECONDS_BETWEEN_LINES = 5  # of the log


# --- one segment --------------------------------------------------------------------------------


def write_segment(out: Path, settings: StrainSettings, segment: Segment) -> Segment:
    """Write the strain files of a segment and, last, its record; return the segment."""
    observation = settings.observation
    simulated = SegmentStrain(settings, segment)
    with contextlib.ExitStack() as stack:
        files = {}
        for kind in settings.kinds:
            for detector in observation.detectors:
                name = segment.strain_file(kind, detector)
                path = stack.enter_context(atomic_path(out / name))
                files[name] = stack.enter_context(
                    StrainFile(path, detector, kind, segment, observation.sample_rate)
                )
        for _, kind, strain in simulated.blocks():
            for detector, values in zip(observation.detectors, strain, strict=True):
                files[segment.strain_file(kind, detector)].write(values)
    facts = {
        name: {"bytes": os.stat(out / name).st_size, "samples": file.digest.hexdigest()}
        for name, file in files.items()
    }
    record = {
        "start": segment.start,
        "duration": segment.duration,
        "curves": [noise.curve.name for noise in simulated.noises],
        "files": facts,
        "injections": simulated.injection_rows(),
    }
    if settings.glitches is not None:
        record["glitches"] = simulated.glitch_rows()
    write_json(out / segment.record_file, record)
    return segment


# --- all segments -------------------------------------------------------------------------------


def simulate_strain(
    out: str | os.PathLike[str],
    settings: StrainSettings,
    workers: int | None = None,
    overwrite: bool = False,
    show_progress: bool | None = None,
) -> dict[str, Any]:
    """Write simulated strain; see the top of `continuous_strain_files` for the files.

    The same settings give the same bytes, whatever the number of workers. A run that was
    interrupted resumes when it is started again, and files that were removed or cut short are
    written again.

    Args:
        out: a folder that is empty, missing, or holds strain of these settings.
        settings: what to simulate.
        workers: how many processes; default one a core.
        overwrite: move strain of other settings that lies in `out` aside, to `<out>.<time>`.
        show_progress: whether to draw a bar; default only on a terminal.

    Returns:
        "out", "segments", "injections", "seconds" (that it took), and "written": how many segments
        were still to do.

    Raises:
        UserError: the folder holds something else, another process simulates into it, a package is
            missing, or there is too little space on the disk.
    """
    began = time.perf_counter()
    out, plain = Path(out), settings.to_plain()
    require("h5py", "gwosc")
    if settings.spacing is not None:
        check_approximant(settings.population.approximant)
    segments = settings.segments()

    def summary(written: int, injections: int) -> dict[str, Any]:
        return {
            "out": str(out),
            "segments": len(segments),
            "injections": injections,
            "written": written,
            "seconds": time.perf_counter() - began,
        }

    # Before the lock, because finished strain may lie where nothing can be written.
    if state_of(out, plain, overwrite) == "finished":
        records = [read_record(out, segment) for segment in segments]
        if all(records) and all((out / name).is_file() for name in (INJECTIONS, SEGMENTS)):
            return summary(0, sum(len(record["injections"]) for record in records))
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_folder(out))
        # Once more: another process may have begun or finished in the meantime.
        state = state_of(out, plain, overwrite)
        if state == "other":
            aside = move_aside(out)
            LOGGER.warning("%s: moved aside to %s", out, aside.name)
            # The lock went aside with its folder; the new folder needs one of its own.
            (aside / LOCK).unlink(missing_ok=True)
            stack.enter_context(locked_folder(out))
        to_do = [segment for segment in segments if read_record(out, segment) is None]
        remove_leftovers(out, settings, to_do)
        check_space(out, settings, to_do)
        if state == "finished":  # but files are missing
            os.replace(out / FINISHED, out / STARTED)
        write_json(out / STARTED, {"settings": plain})
        write_segments(out, settings, to_do, workers or num_cores(), show_progress)
        injections = write_tables(out, settings, segments)
        os.replace(out / STARTED, out / FINISHED)  # last: now everything is there
    return summary(len(to_do), injections)


def state_of(out: Path, plain: dict[str, Any], overwrite: bool) -> str:
    """Return "absent", "started", "finished", or "other": of other settings, to be overwritten.

    Raises:
        UserError: the folder holds something else, or strain of other settings and `overwrite` is
            False.
    """
    state, known = find_strain(out)
    if state != "absent":
        if overwrite and first_difference(known, plain):
            return "other"
        check_settings(out, known, plain)
    return state


def remove_leftovers(out: Path, settings: StrainSettings, to_do: list[Segment]) -> None:
    """Remove what a killed run left half written."""
    remove_temporaries(out, (INJECTIONS, SEGMENTS, STARTED, FINISHED))
    paths = [out / segment.record_file for segment in to_do]
    for kind in settings.kinds:
        for detector in settings.observation.detectors:
            paths += [out / segment.strain_file(kind, detector) for segment in to_do]
    for folder in {path.parent for path in paths}:
        if folder.is_dir():
            remove_temporaries(folder, [path.name for path in paths if path.parent == folder])


def check_space(out: Path, settings: StrainSettings, to_do: list[Segment]) -> None:
    """Check that the files will find room.

    Raises:
        UserError: the disk has less space than they take.
    """
    rate, detectors = settings.observation.sample_rate, settings.observation.num_detectors
    samples = sum(segment.duration for segment in to_do) * rate * detectors * len(settings.kinds)
    needed, free = samples * SAMPLE_BYTES, shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"{out}: the strain takes {needed / 2**30:.1f} GiB and its disk has {free / 2**30:.1f} "
            f"GiB free: free some space, choose another folder with --out, or ask for fewer hours"
        )


def write_segments(
    out: Path,
    settings: StrainSettings,
    to_do: list[Segment],
    workers: int,
    show_progress: bool | None,
) -> None:
    """Write segments, in processes of their own where there are several."""
    total, done = sum(segment.duration for segment in to_do), 0
    began = said = time.perf_counter()
    tasks = ((out, settings, segment) for segment in to_do)
    with progress(total=total, desc="strain", unit="s", show=show_progress) as bar:
        for segment in run_parallel(write_segment, tasks, min(workers, len(to_do))):
            bar.update(segment.duration)
            done += segment.duration
            now = time.perf_counter()
            left = (now - began) * (total - done) / done
            # Where nobody sees the bar, a line every few seconds.
            if bar.disable and left and now - said > SECONDS_BETWEEN_LINES:
                said = now
                words = "%d of %d s of strain written, %s left"
                LOGGER.info(words, done, total, format_seconds(left))


def write_tables(out: Path, settings: StrainSettings, segments: list[Segment]) -> int:
    """Write the tables of injections and segments from the records; return how many injections.

    Raises:
        UserError: a segment has been removed meanwhile.
    """
    detectors = settings.observation.detectors
    injections, rows = [], []
    content = hashlib.blake2b(digest_size=16)
    for segment in segments:
        record = read_record(out, segment)
        if record is None:
            raise UserError(
                f"{out / segment.record_file} or a file of its segment has been removed while "
                f"others were written: run the same command again"
            )
        rows.append((segment.start, segment.end, *record["curves"]))
        injections += [format_injection(row, detectors) for row in record["injections"]]
        for facts in record["files"].values():
            content.update(facts["samples"].encode())
    write_table(out / SEGMENTS, ("start", "end", *(f"curve_{d}" for d in detectors)), rows)
    if settings.spacing is not None:
        write_table(out / INJECTIONS, injection_columns(detectors), injections)
    write_json(out / STARTED, {"settings": settings.to_plain(), "digest": content.hexdigest()})
    return len(injections)
