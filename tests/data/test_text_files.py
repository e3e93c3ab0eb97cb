"""Strain in GWOSC's text files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from data import text_files
from data.strain_files import open_recordings
from runtime.errors import UserError

START = 1126259446
HEADER = (
    "# Gravitational wave strain for GW150914 for {detector} (see http://losc.ligo.org)\n"
    "# This file has {rate} samples per second\n"
    "# starting GPS {start} duration {seconds}\n"
)


def write_text(path: Path, values: np.ndarray, detector: str = "H1", **header) -> Path:
    """Write strain as GWOSC does, packed if the name ends in .gz."""
    facts = {"rate": 4096, "start": START, "seconds": len(values) // 4096} | header
    text = HEADER.format(detector=detector, **facts)
    text += "".join(f"{value!r}\n" for value in values.tolist())
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["H-H1_LOSC_4_V2-1126259446-2.txt.gz", "plain.txt"])
def test_it_is_read(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(1).normal(0, 1e-21, 8192)
    values[100:200] = np.nan
    path = write_text(tmp_path / name, values)
    recording = open_recordings([f"h1={path}"])["H1"]
    assert (recording.rate, recording.start, recording.end) == (4096, START, START + 2)
    assert recording.usable_segments() == [(START, START + 2)]
    read = recording.read(START - 0.5, 3 * 4096)
    assert np.isnan(read[:2048]).all()
    assert np.array_equal(read[2048 : 2048 + 8192], values, equal_nan=True)
    assert len(recording.content_digests()) == 1
    assert recording.sources[0].calibration == ("LOSC-4KHZ_V2_STRAIN" if "V2" in name else "")


def test_a_part_is_read_from_the_file_once(tmp_path: Path, monkeypatch) -> None:
    recording = open_recordings([f"H1={write_text(tmp_path / 'a.txt.gz', np.ones(8192))}"])["H1"]
    recording.read(START, 10)
    monkeypatch.setattr(text_files, "open_text", None)
    assert np.array_equal(recording.read(START + 1, 10), np.ones(10))


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"detector": "L1"}, "holds strain of L1 and was given for H1: .*--strain L1="),
        ({"rate": 1024}, "is sampled at 1024 Hz"),
        ({"seconds": 0}, "states 0 s at 4096 Hz, 0 samples: download"),
        ({"seconds": 9999999}, "samples: download it again"),
        ({"start": "x"}, "does not begin as a text file of GWOSC does"),
        ({"rate": "many"}, "does not begin as a text file of GWOSC does"),
    ],
)
def test_headers_that_are_refused(tmp_path: Path, header, match) -> None:
    path = write_text(tmp_path / "a.txt.gz", np.ones(4096), **header)
    with pytest.raises(UserError, match=match):
        open_recordings([f"H1={path}"])


def test_a_name_says_whose_strain_it_is_where_the_header_does_not(tmp_path: Path) -> None:
    path = write_text(tmp_path / "L-L1_LOSC_4_V2-1-1.txt.gz", np.ones(4096), detector="you")
    with pytest.raises(UserError, match="holds strain of L1 and was given for H1"):
        open_recordings([f"H1={path}"])
    assert open_recordings([f"L1={path}"])["L1"].rate == 4096


@pytest.mark.parametrize("kind", ["cut", "short", "long", "word", "binary"])
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    count = {"short": 4000, "long": 5000}.get(kind, 4096)
    path = write_text(tmp_path / "a.txt.gz", np.random.default_rng(1).random(count), seconds=1)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-5000])
    elif kind == "word":
        text = gzip.decompress(path.read_bytes()).decode()
        path.write_bytes(gzip.compress((text[:5000] + "\nabc\n" + text[5000:]).encode()))
    elif kind == "binary":
        path.write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(UserError, match=r"is damaged.*download it again"):
        open_recordings([f"H1={path}"])["H1"].read(START, 10)
    if kind != "word":  # what is cut is known before anything is searched
        with pytest.raises(UserError, match=r"is damaged.*download it again"):
            open_recordings([f"H1={path}"])["H1"].content_digests()


def test_text_has_no_data_quality_bits(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt.gz", np.ones(4096))
    with pytest.raises(UserError, match="has no data-quality bit 'DATA', it holds no bits at all"):
        open_recordings([f"H1={path}"], data_quality=("DATA",))
    assert open_recordings([f"H1={path}"], data_quality=())["H1"].excluded_segments() == {}
