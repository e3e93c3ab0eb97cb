"""Files of segments, and what they leave of strain."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data.data_quality import ExcludedTimes, allowed_segments, format_excluded_times, read_segments
from data.recording import Recording, StrainInMemory
from runtime.errors import UserError

FORMS = {
    "two.txt": "# start end\n30 40.5\n\n10 20 # a note\n",
    "three.txt": "10 20 10\n30 40.5 10.5\n",
    "segwizard.txt": "# seg start stop duration\n0 10 20 10\n1 30 40.5 10.5\n",
    "commas.txt": "10,20\n30,40.5\n",
    "columns.csv": "start_time,end_time,note\n10,20,x\n30,40.5,y\n",
    "pairs.json": "[[10, 20], [30, 40.5]]",
    "timeline.json": json.dumps({"segments": [[10, 20], [30, 35], [35, 40.5]], "flag": "H1_DATA"}),
    "database.json": json.dumps({"known": [[0, 50]], "active": [[10, 20], [30, 40.5]]}),
    "detectors.json": json.dumps({"H1": [[10, 20], [30, 40.5]], "L1": [[0, 1]]}),
    "detectors.csv": "ifo,start,end\nH1,10,20\nL1,0,1\nH1,30,40.5\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_segments_in_every_form(tmp_path, name) -> None:
    (tmp_path / name).write_text(FORMS[name])
    assert read_segments(tmp_path / name, "H1") == [(10.0, 20.0), (30.0, 40.5)]
    if name.startswith("detectors"):
        assert read_segments(tmp_path / name) == [(0.0, 1.0), (10.0, 20.0), (30.0, 40.5)]


@pytest.mark.parametrize("name", ["segwizard.txt", "flag.json"])
def test_segments_that_gwpy_writes(tmp_path, name) -> None:
    segments = pytest.importorskip("gwpy.segments")
    active = segments.SegmentList([segments.Segment(10, 20), segments.Segment(30, 40.5)])
    if name.endswith(".json"):
        known = segments.SegmentList([segments.Segment(0, 100)])
        flag = segments.DataQualityFlag("H1:DMT-ANALYSIS_READY:1", active=active, known=known)
        flag.write(tmp_path / name)
    else:
        active.write(tmp_path / name, format="segwizard", coltype=float)
    assert read_segments(tmp_path / name, "H1") == [(10.0, 20.0), (30.0, 40.5)]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("10\n", "line 1: '10': expected lines of"),
        ("1 2\na b\n", "line 2: 'a' and 'b' are not two GPS times"),
        ("1 nan\n", "line 1: '1' and 'nan' are not two"),
        ("5 3\n", "line 1: the segment from 5 ends at 3, not after"),
        ("start,stopp\n1,2\n", "has the columns start, stopp: expected start and end"),
        ("start,end\n1,x\n", "row 1: '1' and 'x' are not"),
        ("[1, 2]", "segment 1: 1: expected"),
        ("[[1, 2], [3]]", r"segment 2: \[3\]: expected"),
        ('{"known": [[1, 2]]}', "holds no list of segments"),
        ("[[1, 2", "is damaged JSON"),
    ],
)
def test_damaged_files(tmp_path, text, match) -> None:
    (tmp_path / "bad").write_text(text)
    with pytest.raises(UserError, match=match):
        read_segments(tmp_path / "bad")


def test_what_is_no_text(tmp_path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_segments(tmp_path / "bad")


@pytest.fixture
def recordings() -> dict[str, Recording]:
    """100 s of H1 and 50 s of L1 from GPS 1000 on."""
    return {
        name: Recording(name, [StrainInMemory(name, np.zeros(16 * seconds), 16, 1000.0)])
        for name, seconds in (("H1", 100), ("L1", 50))
    }


def test_what_segments_and_vetoes_leave(tmp_path, recordings) -> None:
    (tmp_path / "science").write_text("1010 1090\n")
    (tmp_path / "veto").write_text("1000 1020\n1030 1031\n")
    allowed, excluded = allowed_segments(
        recordings, [str(tmp_path / "science")], [f"h1={tmp_path / 'veto'}"]
    )
    assert allowed == {"H1": [(1020, 1030), (1031, 1090)], "L1": [(1010, 1050)]}
    assert excluded == [
        ExcludedTimes(f"outside --segments {tmp_path / 'science'}", "H1", 20.0),
        # 10 s of the veto were excluded before.
        ExcludedTimes(f"--veto {tmp_path / 'veto'}", "H1", 11.0),
        ExcludedTimes(f"outside --segments {tmp_path / 'science'}", "L1", 10.0),
    ]
    assert format_excluded_times(excluded)[1] == f"H1: 11 s by --veto {tmp_path / 'veto'}"
    assert allowed_segments(recordings) == ({"H1": [(1000, 1100)], "L1": [(1000, 1050)]}, [])


def test_refusals(tmp_path, recordings) -> None:
    veto = tmp_path / "veto"
    veto.write_text("0 5000\n")
    for segments, vetoes, match in (
        ([], [str(veto)], "nothing is left to search .*H1: 100 s by --veto"),
        ([], [f"V1={veto}"], "there is no strain of V1.*one of H1, L1"),
        ([], [f"H1={veto}x"], "there is no file"),
        ([str(tmp_path / "x=y")], [], "there is no file .*x=y"),
        (["H2=x"], [], "no strain of H2.*did you mean 'H1'"),
    ):
        with pytest.raises(UserError, match=match):
            allowed_segments(recordings, segments, vetoes)
