"""Strain that cannot be searched: one sentence each, exit code 2, and nothing is written.

The sentence names the file or the option, what was expected and what to do.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from frame_files import write_frame_file
from real_strain import START, write_strain
from small_search import Excess, write_small_strain

import detect
from configs import Demo
from configuration.config_class import ConfigMeta
from runtime.command_line import run_command
from training.checkpoints import save_checkpoint

h5py = pytest.importorskip("h5py")

RATE = 4096
FRAMES = importlib.util.find_spec("lalframe") is not None
GWPY = {"x0": float(START), "dx": 1 / RATE}
PYCBC = {"start_time": float(START), "delta_t": 1 / RATE}
TEXT = "# strain for {}\n# {} samples per second\n# starting GPS {} duration {}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good strain of H1 and L1, everything that can be wrong, and a network."""
    place = tmp_path_factory.mktemp("place")
    write_small_strain(place)  # H1.hdf5 and L1.hdf5, 32 s
    save_checkpoint(place / "results" / "demo" / "fold0.pt", {"model": Excess().state_dict()})
    strain = np.random.default_rng(0).normal(0, 1e-21, 8 * RATE)

    def write(name: str, change: Callable[[h5py.File], None], detector: str = "H1") -> None:
        write_strain(place / name, detector, strain)
        with h5py.File(place / name, "a") as file:
            change(file)

    def write_series(name: str, series: str, attributes: dict) -> None:
        with h5py.File(place / name, "w") as file:
            file.create_dataset(series, data=strain).attrs.update(attributes)

    # --- files of GWOSC ---
    write_strain(place / "K1.hdf5", "K1", strain)
    write_strain(place / "slow.hdf5", "H1", strain[:4096], rate=1024)
    write_strain(place / "odd.hdf5", "H1", strain, rate=4096.5)
    write_strain(place / "later_16k.hdf5", "H1", strain, rate=16384, start=START + 500)
    write_strain(place / "overlapping.hdf5", "H1", strain, start=START + 30)
    write_strain(place / "integers.hdf5", "H1", np.ones(RATE, np.int32))
    write_strain(place / "rows.hdf5", "H1", np.ones((2, RATE)))
    write("when.hdf5", lambda file: file["strain/Strain"].attrs.update({"Xstart": np.nan}))
    write("spacing.hdf5", lambda file: file["strain/Strain"].attrs.update({"Xspacing": "fast"}))
    for number, release in enumerate(("GWOSC-4KHZ_R1_STRAIN", "DCS-CALIB_STRAIN_C01")):
        name = f"release{number}.hdf5"
        write(name, lambda file, r=release: file.__setitem__("strain/GWOSCmeta", r))
        with h5py.File(place / name, "a") as file:
            file["strain/Strain"].attrs["Xstart"] = START + 100 * number
    write("mask.hdf5", lambda file: file.__setitem__("quality/simple/DQmask", np.ones((2, 2))))
    with h5py.File(place / "mask.hdf5", "a") as file:
        file["quality/simple/DQShortnames"] = np.array([b"DATA"])
    raw = (place / "K1.hdf5").read_bytes()
    (place / "cut.hdf5").write_bytes(raw[: len(raw) // 2])
    with h5py.File(place / "link.hdf5", "w") as file:
        file["strain/Strain"] = h5py.ExternalLink("H1.hdf5", "/strain/Strain")
    with h5py.File(place / "pickle.hdf5", "w") as file:
        file["strain/Strain"] = np.void(b"cos\nsystem\n(S'touch sprung'\ntR.")
    with h5py.File(place / "other.hdf5", "w") as file:
        file["table"] = np.ones(10)
    # --- files of gwpy, PyCBC and the challenge ---
    write_series("gwpy.hdf5", "strain", GWPY | {"channel": "H1:GDS-CALIB_STRAIN"})
    write_series("torn.hdf5", "H1", GWPY | {"channel": "L1:GDS-CALIB_STRAIN"})
    write_series("still.hdf5", "H1", GWPY | {"dx": 0.0})
    write_series("challenge.hdf", f"L1/{START}", PYCBC)
    write_series("L-L1_PYCBC-1-8.hdf", "data", PYCBC)
    with h5py.File(place / "channels.hdf5", "w") as file:
        for name in ("H1:A", "H1:B"):
            file.create_dataset(name, data=strain).attrs.update(GWPY)
    # --- text ---
    numbers = "".join(f"{value:.6e}\n" for value in strain) * 4  # 32 s
    good = TEXT.format("H1", RATE, START, 32) + numbers
    (place / "L1.txt").write_text(TEXT.format("L1", RATE, START, 32) + numbers)
    (place / "header.txt").write_text("# strain\n" + numbers)
    (place / "short.txt").write_text(TEXT.format("H1", RATE, START, 40) + numbers)
    (place / "cut.txt.gz").write_bytes(gzip.compress(good.encode())[:-3000])
    (place / "words.hdf5").write_text("no strain")
    (place / "empty.hdf5").touch()
    # --- frames ---
    (place / "bad.gwf").write_bytes(b"IGWD" + bytes(100))
    two = dict.fromkeys(("H1:A_STRAIN", "H1:B_STRAIN"), strain[:RATE])
    if FRAMES:
        write_frame_file(place / "channels.gwf", [(START, 1.0, two)])
    # --- folders, lists and caches ---
    (place / "folder").mkdir()
    (place / "folder" / "L-L1_X-1-8.hdf5").write_bytes(raw)
    (place / "gone.lst").write_text("H1.hdf5\nabsent.hdf5\n")
    (place / "empty.lst").write_text("# nothing\n")
    (place / "far.lcf").write_text("H H1_HOFT_C00 1 8 osdf:///igwn/H-H1_HOFT_C00-1-8.gwf\n")
    (place / "bad.lcf").write_text("H1.hdf5\n")
    (place / "L1.lcf").write_text(f"L L1_HOFT_C00 1 8 file://localhost{place}/L1.hdf5\n")
    # --- segments ---
    (place / "words.segments").write_text("from then to now\n")
    (place / "backwards.segments").write_text("1 20 10 -10\n")
    (place / "all.segments").write_text("0 2000000000\n")
    (place / "never.segments").write_text("10 20\n")
    return place


def strain(*words: str) -> list[str]:
    return ["--strain", *words]


H1 = strain("H1=H1.hdf5")

CASES = {
    # --- the word itself ---
    "no detector": (strain("H1.hdf5"), "expected DETECTOR=FILE, e.g. H1=FILE"),
    "no file named": (strain("H1="), "expected DETECTOR=FILE, e.g. H1=FILE"),
    "unknown detector": (strain("X1=H1.hdf5"), "there is no detector 'X1'"),
    "detector not observed": (strain("K1=K1.hdf5"), "observe H1, L1, V1 and not K1: leave K1 out"),
    "no such file": (strain("H1=absent.hdf5"), "there is no file absent.hdf5: check its name"),
    "no match": (strain("H1=absent*"), "no file of H1 matches 'absent*': check the pattern"),
    "match of another": (strain("H1=folder/L-*"), "only L-L1_X-1-8.hdf5: check the pattern"),
    "folder of another": (strain("H1=folder"), "the folder folder has no strain files of H1"),
    "list names no file": (strain("H1=empty.lst"), "empty.lst names no file: expected a path"),
    "list names an absent file": (strain("H1=gone.lst"), "gone.lst names in line 2: correct this"),
    "cache of another machine": (strain("H1=far.lcf"), "is not on this machine: download it"),
    "cache of another form": (strain("H1=bad.lcf"), "line 1: 'H1.hdf5': expected 'observatory"),
    "cache of another detector": (strain("H1=L1.lcf"), "has no files of H1, only of L: name"),
    # --- what it is ---
    "no strain file": (strain("H1=words.hdf5"), "is neither HDF5 nor GWF nor text of GWOSC"),
    "empty file": (strain("H1=empty.hdf5"), "is neither HDF5 nor GWF nor text of GWOSC"),
    "cut file": (strain("H1=cut.hdf5"), "cut.hdf5 is damaged"),
    "no strain in HDF5": (strain("H1=other.hdf5"), "no data set of strain: expected"),
    "link": (strain("H1=link.hdf5"), "is a link that may lead out of the file"),
    "pickle": (strain("H1=pickle.hdf5"), "not floating-point numbers, and is not read"),
    "whole numbers": (strain("H1=integers.hdf5"), "holds int32 and not floating-point numbers"),
    "two rows": (strain("H1=rows.hdf5"), "has the shape (2, 4096), expected one long row"),
    "start": (strain("H1=when.hdf5"), "Xstart or meta/GPSstart, is not a number"),
    "spacing": (strain("H1=spacing.hdf5"), "the attribute Xspacing is not a number"),
    "no spacing": (strain("H1=still.hdf5"), "still.hdf5:H1: a sampling rate of nan Hz"),
    "too slow": (strain("H1=slow.hdf5"), "at 1024 Hz and the networks take 2048 Hz: use the 4 kHz"),
    "odd rate": (strain("H1=odd.hdf5"), "a sampling rate of 4096.5 Hz is not a whole number"),
    "mask": (strain("H1=mask.hdf5"), "'quality/simple/DQmask' is no row of whole numbers"),
    "damaged frames": (strain("H1=bad.gwf"), "download it again"),
    "header of text": (strain("H1=header.txt"), "does not begin as a text file of GWOSC does"),
    "short text": (strain("H1=short.txt"), "states 163,840 samples and there are only 131,072"),
    "cut text": (strain("H1=cut.txt.gz"), "cut.txt.gz is damaged"),
    # --- whose it is ---
    "file of another": (strain("L1=H1.hdf5"), "strain of H1 and was given for L1: give a file of"),
    "KAGRA for Virgo": (strain("V1=K1.hdf5"), "strain of K1 and was given for V1: give a file of"),
    "channel of another": (strain("L1=gwpy.hdf5"), "strain of H1 and was given for L1"),
    "challenge of another": (strain("H1=challenge.hdf"), "strain of L1 and was given for H1"),
    "name of another": (strain("H1=L-L1_PYCBC-1-8.hdf"), "strain of L1 and was given for H1"),
    "text of another": (strain("H1=L1.txt"), "strain of L1 and was given for H1"),
    "frames of another": (strain("L1=channels.gwf"), "strain of H1 and was given for L1"),
    "two at once": (strain("H1=torn.hdf5"), "'H1' names H1 and L1 at once"),
    "several channels": (strain("H1=channels.hdf5"), "--channel H1=NAME out of H1:A, H1:B"),
    "several in frames": (strain("H1=channels.gwf"), "has 2 strain channels of H1: name one"),
    "no such channel": (
        [*strain("H1=channels.gwf"), "--channel", "H1=H1:C_STRAIN"],
        "has no channel 'H1:C_STRAIN' (did you mean",
    ),
    "channel of another detector": (
        [*strain("H1=channels.gwf"), "--channel", "H1=L1:A_STRAIN"],
        "begins with H1: and this one is of L1",
    ),
    "channel without strain": ([*H1, "--channel", "L1=L1:A"], "there is no strain of L1: give"),
    # --- how files fit together ---
    "twice the same": (strain("H1=H1.hdf5", "H1=H1.hdf5"), "overlap: give each second of H1 once"),
    "overlap": (strain("H1=H1.hdf5", "H1=overlapping.hdf5"), "overlap: give each second of H1 onc"),
    "two rates": (strain("H1=H1.hdf5", "H1=later_16k.hdf5"), "give files of one rate for H1"),
    "two calibrations": (strain("H1=release?.hdf5"), "two calibrations of H1 are not joined"),
}

# Times that are left out. `allowed_segments` and `parse_bits` have tests of their own.
SEGMENTS = {
    "absent": ([*H1, "--segments", "absent.txt"], "--segments absent.txt: there is no file"),
    "words": ([*H1, "--veto", "words.segments"], "line 1: 'then' and 'to'"),
    "backwards": ([*H1, "--veto", "backwards.segments"], "from 20 ends at 10, not after its start"),
    "another detector": ([*H1, "--veto", "L1=all.segments"], "there is no strain of L1"),
    "everything vetoed": ([*H1, "--veto", "all.segments"], "nothing is left to search"),
    "outside": ([*H1, "--segments", "never.segments"], "nothing is left to search"),
    "unknown bit": ([*H1, "--data_quality", "CBC_CAT7"], "no data-quality bit 'CBC_CAT7'"),
    "bit and none": ([*H1, "--data_quality", "none", "DATA"], "'none' asks for no bit"),
}


def check_mistake(arguments: list[str], said: str, place: Path, monkeypatch, capsys) -> None:
    """Run a search and check that it ends with one sentence, exit code 2 and nothing written."""
    config = ConfigMeta("Demo", (Demo,), {"model": Excess, "published": {}}, register=False)
    monkeypatch.setitem(ConfigMeta.registry, "Demo", config)
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: detect.main(["--config", "Demo", "--results", "results", *arguments]))
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("case", CASES)
def test_strain_that_cannot_be_searched(place, monkeypatch, capsys, case):
    if not FRAMES and any(".gwf" in word for word in CASES[case][0]):
        pytest.skip("frame files need the package lalsuite")
    check_mistake(*CASES[case], place, monkeypatch, capsys)


@pytest.mark.parametrize("case", SEGMENTS)
def test_times_that_cannot_be_searched(place, monkeypatch, capsys, case):
    arguments, said = SEGMENTS[case]
    if not hasattr(detect.build_parser().parse_args(["--config", "Demo"]), "veto"):
        pytest.skip("detect.py does not take --segments, --veto and --data_quality")
    check_mistake(arguments, said, place, monkeypatch, capsys)
