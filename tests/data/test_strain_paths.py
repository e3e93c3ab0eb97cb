"""Which files a word of the command line stands for, and what their names say."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.strain_paths import calibration_of_name, detector_of_name, find_strain_files, may_hold
from runtime.errors import UserError

NAMES = (
    "H-H1_GWOSC_4KHZ_R1-1000-10.hdf5",
    "H-H1_GWOSC_4KHZ_R1-1010-10.gwf",
    "L-L1_GWOSC_4KHZ_R1-1000-10.hdf5",
    "H-H1_GWOSC_4KHZ_R1-1020-10.txt.gz",
    "V-HoftOnline-1000-10.gwf",
    "HL-COMBINED-1030-10.hdf5",
    "any.h5",
    "notes.md",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of several detectors, and a file that is not of strain."""
    for name in NAMES:
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def names_of(text: str | Path, detector: str) -> list[str]:
    return [path.name for path in find_strain_files(str(text), detector, "--strain X")]


def test_folders_and_globs_leave_out_what_other_detectors_have(folder: Path) -> None:
    assert names_of(folder, "H1") == [
        "H-H1_GWOSC_4KHZ_R1-1000-10.hdf5",
        "H-H1_GWOSC_4KHZ_R1-1010-10.gwf",
        "H-H1_GWOSC_4KHZ_R1-1020-10.txt.gz",
        "HL-COMBINED-1030-10.hdf5",
        "any.h5",
    ]
    assert names_of(folder, "V1") == ["V-HoftOnline-1000-10.gwf", "any.h5"]
    assert names_of(folder / "*.hdf5", "L1") == [
        "HL-COMBINED-1030-10.hdf5",
        "L-L1_GWOSC_4KHZ_R1-1000-10.hdf5",
    ]
    assert names_of(folder.parent / "**" / "any.h5", "L1") == ["any.h5"]
    # A file that is named is given, whatever its name; what it holds is checked later.
    assert names_of(folder / NAMES[2], "H1") == [NAMES[2]]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "strain[1].hdf5").touch()
    assert names_of(tmp_path / "strain[1].hdf5", "H1") == ["strain[1].hdf5"]


def test_lists(folder: Path) -> None:
    (folder / "all.txt").write_text(f"# two files\n{NAMES[0]}\n\n{folder / NAMES[1]}\n")
    assert names_of(folder / "all.txt", "H1") == list(NAMES[:2])
    (folder / "all.txt").write_text("\n".join(NAMES[:3]))
    assert names_of(folder / "all.txt", "L1") == [NAMES[2]]
    with pytest.raises(UserError, match=r"all\.txt has no files of V1, only H-H1_GWOSC"):
        find_strain_files(str(folder / "all.txt"), "V1", "--strain X")


def test_text_with_numbers_is_strain_and_no_list(tmp_path: Path) -> None:
    (tmp_path / "H1.txt").write_text("# 4096 samples per second\n-1e-20\n")
    assert names_of(tmp_path / "H1.txt", "H1") == ["H1.txt"]


def test_frame_caches(folder: Path) -> None:
    (folder / "two words.gwf").touch()
    lines = [
        f"H H1_HOFT_C00 1000 10 file://localhost{folder / NAMES[0]}",
        f"L L1_HOFT_C00 1000 10 file://localhost{folder / 'absent.gwf'}",
        f"HL COMBINED - - {folder / NAMES[5]}",
        f"H H1_HOFT_C00 1010 10 file://{folder}/two%20words.gwf",
    ]
    (folder / "all.lcf").write_text("\n".join(lines))
    assert names_of(folder / "all.lcf", "H1") == [NAMES[0], NAMES[5], "two words.gwf"]
    (folder / "all.ffl").write_text(f"{folder / NAMES[4]} 1000 10 0 0\n{NAMES[0]} 1000.5 10 0 0\n")
    assert names_of(folder / "all.ffl", "V1") == [NAMES[4]]
    assert names_of(folder / "all.ffl", "H1") == [NAMES[0]]


def test_a_frame_cache_that_lal_writes(folder: Path) -> None:
    lal = pytest.importorskip("lal")
    lal.CacheExport(lal.CacheGlob(str(folder), "*.*"), str(folder.parent / "all.lcf"))
    assert names_of(folder.parent / "all.lcf", "L1") == [NAMES[5], NAMES[2]]


@pytest.mark.parametrize("kind", ["lal", "ffl"])
def test_a_frame_cache_that_gwpy_writes(folder: Path, kind: str) -> None:
    write_cache = pytest.importorskip("gwpy.io.cache").write_cache
    path = folder.parent / f"all.{'lcf' if kind == 'lal' else kind}"
    with open(path, "w") as file:
        write_cache([str(folder / name) for name in NAMES[:3]], file, format=kind)
    assert names_of(path, "H1") == list(NAMES[:2])


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("x.lst", "", "names no file"),
        ("x.lst", "absent.hdf5", r"no file .*absent\.hdf5, which .*x\.lst names in line 1"),
        ("x.lcf", "H H1_HOFT 1000 10 /a.gwf extra", "line 1: .*expected 'observatory type"),
        ("x.lcf", "H H1_HOFT 1000 10 osdf:///igwn/a.gwf", "is not on this machine: download it"),
        ("x.lcf", "H H1_HOFT 1000 10 file://other/a.gwf", "is not on this machine"),
        ("x.lcf", "L L1_HOFT 1000 10 /a.gwf", "has no files of H1, only of L"),
        ("x.lcf", "H H1_HOFT 1000 10 /no/a.gwf", r"no file /no/a\.gwf, which"),
    ],
)
def test_damaged_lists_and_caches(tmp_path: Path, name, content, match) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=match):
        find_strain_files(str(tmp_path / name), "H1", "--strain X")


def test_what_is_not_there(folder: Path) -> None:
    (folder.parent / "empty").mkdir()
    (folder / "bad.lst").write_bytes(b"\xff\xfe")
    for text, match in (
        (folder / "absent.hdf5", "--strain X: there is no file"),
        (folder / "*.xyz", "no file of K1 matches .*check the pattern"),
        (folder / "L-*.hdf5", "no file of K1 matches .* only L-L1"),
        (folder.parent / "empty", "has no strain files of K1 .* only nothing: name the folder"),
        (folder / "bad.lst", "cannot be read as text"),
    ):
        with pytest.raises(UserError, match=match):
            find_strain_files(str(text), "K1", "--strain X")


def test_what_names_say() -> None:
    def of(name: str) -> tuple:
        return detector_of_name(Path(name)), calibration_of_name(Path(name))

    assert of("H-H1_GWOSC_O3a_16KHZ_R1-1-2.hdf5") == ("H1", "GWOSC-16KHZ_R1_STRAIN")
    assert of("H-H1_GWOSC_4KHZ_R1-1-2.hdf5") == ("H1", "GWOSC-4KHZ_R1_STRAIN")
    assert of("L-L1_LOSC_4_V2-1-2.hdf5") == ("L1", "LOSC-4KHZ_V2_STRAIN")
    assert of("V-V1Online-1-2.gwf") == ("V1", "")
    assert of("V-HoftOnline-1-2.gwf") == (None, "")
    assert of("strain.hdf5") == (None, "")
    assert may_hold(Path("H-H2_X-1-2.gwf"), "H1") is False
