"""Which strain may be searched: lists of GPS segments, and what they and the files' bits exclude.

`read_segments` reads a file of GPS segments, and `allowed_segments` says for each detector when it
has strain that may be searched, and what was excluded for which reason. time_segments.py has the
union, intersection and difference of lists of segments.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.recording import Recording
from data.time_segments import TimeSegments, merge_segments, subtract_segments, total_seconds
from physics.sites import SITES
from runtime.errors import UserError, nearest

# Names that columns of a CSV file or keys of a JSON file may have.
START_NAMES = ("start", "start_time", "gps_start", "gpsstart", "begin")
END_NAMES = ("end", "end_time", "gps_end", "gpsend", "stop")
DETECTOR_NAMES = ("detector", "ifo", "ifos", "instrument")
JSON_KEYS = ("segments", "active")  # of GWOSC's timelines, of the segment database
FORMS = (
    "expected lines of 'start end' or of 'number start end duration' in GPS seconds, a CSV file "
    "with columns start and end, or JSON with [start, end] pairs"
)


@dataclass(frozen=True)
class ExcludedTimes:
    """Strain of one detector that is there and is not searched.

    Attributes:
        what: the reason, such as "data-quality bit CBC_CAT2" or "--veto flags.txt".
        detector: e.g. "H1".
        seconds: how much of the strain that earlier reasons had left.
    """

    what: str
    detector: str
    seconds: float


def allowed_segments(
    recordings: Mapping[str, Recording], segments: Sequence[str] = (), vetoes: Sequence[str] = ()
) -> tuple[dict[str, TimeSegments], list[ExcludedTimes]]:
    """Return when each detector has strain that may be searched, and what is excluded.

    Args:
        recordings: by detector.
        segments: values of --segments, 'FILE' for all detectors or 'H1=FILE' for one; only what
            lies in one of the files of a detector is searched.
        vetoes: values of --veto, in the same form; what lies in one of them is not searched.

    Returns:
        Sorted segments by detector, for `Recording.limited_to`, and what each reason excludes. A
        second that two reasons exclude is counted for the first: bits of the files, then segments,
        then vetoes.

    Raises:
        UserError: a file cannot be read, is for a detector without strain, or nothing is left.
    """
    allowed, excluded = {}, []
    chosen = [split_option(word, "--segments", recordings) for word in segments]
    vetoed = [split_option(word, "--veto", recordings) for word in vetoes]
    for detector, recording in recordings.items():
        left = recording.data_segments()
        reasons: list[tuple[str, TimeSegments]] = [
            (f"data-quality bit {bit}", forbidden)
            for bit, forbidden in recording.excluded_segments().items()
        ]
        own = [path for name, path in chosen if name in (None, detector)]
        if own:
            inside = merge_segments(
                segment for path in own for segment in read_segments(path, detector)
            )
            what = f"outside --segments {' '.join(map(str, own))}"
            reasons.append((what, subtract_segments(left, inside)))
        reasons += [
            (f"--veto {path}", read_segments(path, detector))
            for name, path in vetoed
            if name in (None, detector)
        ]
        for what, forbidden in reasons:
            kept = subtract_segments(left, forbidden)
            seconds = total_seconds(left) - total_seconds(kept)
            if seconds > 0:
                excluded.append(ExcludedTimes(what, detector, seconds))
            left = kept
        allowed[detector] = left
    if recordings and not any(allowed.values()):
        reasons_said = "; ".join(format_excluded_times(excluded)) or "the files hold no strain"
        raise UserError(
            f"nothing is left to search ({reasons_said}): give other strain, or leave out some of "
            f"--segments, --veto and --data_quality"
        )
    return allowed, excluded


def format_excluded_times(excluded: Sequence[ExcludedTimes]) -> list[str]:
    """Return a clause for each reason, such as 'H1: 12 s by data-quality bit CBC_CAT2'."""
    return [f"{item.detector}: {item.seconds:g} s by {item.what}" for item in excluded]


def split_option(
    word: str, option: str, recordings: Mapping[str, Recording]
) -> tuple[str | None, Path]:
    """Return the detector of 'H1=FILE', or None for 'FILE', and the file.

    Raises:
        UserError: there is no strain of the detector, or no such file.
    """
    written, equals, text = word.partition("=")
    detector = written.upper() if equals else None
    # A path may itself hold '='.
    if detector is None or (detector not in SITES and ("/" in written or Path(word).exists())):
        detector, text = None, word
    elif detector not in recordings:
        raise UserError(
            f"{option} {word}: there is no strain of {written}{nearest(detector, recordings)}: "
            f"expected FILE, or DETECTOR=FILE with one of {', '.join(recordings)}"
        )
    path = Path(text).expanduser()
    if not path.is_file():
        raise UserError(f"{option} {word}: there is no file {path}: check its name")
    return detector, path


# --- files of segments --------------------------------------------------------------------------


def read_segments(path: Path, detector: str | None = None) -> TimeSegments:
    """Return the segments of a file, sorted and merged.

    Text has lines of 'start end', of 'start end duration' or, as segwizard writes it, of 'number
    start end duration'. A CSV file names its columns start and end (or start_time, gps_start, ...).
    JSON is a list of pairs, or holds one under "segments" (GWOSC's timelines), under "active" (the
    segment database), or under the name of each detector.

    Args:
        path: the file.
        detector: whose segments are wanted, where the file names detectors; None takes all.

    Raises:
        UserError: it cannot be read, holds something else, or a segment ends before it starts.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): {FORMS}") from error
    words = text.lstrip()[:1]
    if words in ("[", "{"):
        pairs = json_pairs(path, text, detector)
    elif looks_like_csv(text):
        pairs = csv_pairs(path, text, detector)
    else:
        pairs = text_pairs(path, text)
    return checked_segments(path, pairs)


def checked_segments(path: Path, pairs: Iterable[tuple[str, Any, Any]]) -> TimeSegments:
    """Return segments of (where in the file, start, end), sorted and merged.

    Raises:
        UserError: a time is not a finite number, or a segment does not end after its start.
    """
    segments = []
    for where, start_word, end_word in pairs:
        try:
            start, end = float(start_word), float(end_word)
        except (TypeError, ValueError):
            start = end = math.nan
        if not (math.isfinite(start) and math.isfinite(end)):
            raise UserError(
                f"{path}, {where}: {start_word!r} and {end_word!r} are not two GPS times: {FORMS}"
            )
        if end <= start:
            raise UserError(
                f"{path}, {where}: the segment from {start:.10g} ends at {end:.10g}, not after its "
                f"start: correct this line"
            )
        segments.append((start, end))
    return merge_segments(segments)


def text_pairs(path: Path, text: str) -> list[tuple[str, str, str]]:
    """Return (line, start, end) of the lines of a text file."""
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) not in (2, 3, 4):
            raise UserError(f"{path}, line {number}: {line.strip()[:60]!r}: {FORMS}")
        first = 1 if len(words) == 4 else 0
        pairs.append((f"line {number}", words[first], words[first + 1]))
    return pairs


def looks_like_csv(text: str) -> bool:
    """Return whether the first line that is no comment names columns."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            names = {name.strip().lower() for name in line.split(",")}
            return bool(names & set(START_NAMES))
    return False


def csv_pairs(path: Path, text: str, detector: str | None) -> list[tuple[str, str, str]]:
    """Return (line, start, end) of the rows of a CSV file with named columns."""
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    reader = csv.DictReader(lines, skipinitialspace=True)
    columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
    start = next((columns[name] for name in START_NAMES if name in columns), None)
    end = next((columns[name] for name in END_NAMES if name in columns), None)
    whose = next((columns[name] for name in DETECTOR_NAMES if name in columns), None)
    if start is None or end is None:
        raise UserError(
            f"{path} has the columns {', '.join(columns) or 'none'}: expected start and end"
        )
    return [
        (f"row {number}", row[start], row[end])
        for number, row in enumerate(reader, 1)
        if detector is None or whose is None or (row[whose] or "").strip().upper() == detector
    ]


def json_pairs(path: Path, text: str, detector: str | None) -> list[tuple[str, Any, Any]]:
    """Return (place, start, end) of a JSON file."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is damaged JSON ({error}): {FORMS}") from error
    for key in JSON_KEYS:
        if isinstance(content, dict) and key in content:
            content = content[key]
    if isinstance(content, dict) and content and all(name.upper() in SITES for name in content):
        chosen = [
            pair
            for name, pairs in content.items()
            if detector in (None, name.upper()) and isinstance(pairs, list)
            for pair in pairs
        ]
    elif isinstance(content, list):
        chosen = content
    else:
        raise UserError(f"{path} holds no list of segments: {FORMS}")
    pairs = []
    for number, pair in enumerate(chosen, 1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise UserError(f"{path}, segment {number}: {str(pair)[:60]}: {FORMS}")
        pairs.append((f"segment {number}", pair[0], pair[1]))
    return pairs
