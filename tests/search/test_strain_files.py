"""Strain files: what is read of them, and what is refused."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from real_strain import START, write_strain

from runtime.errors import UserError
from search import strain_files
from search.strain_files import Recording, StrainInMemory, fetch_event, open_recordings

h5py = pytest.importorskip("h5py")


@pytest.fixture
def strain(rng) -> np.ndarray:
    return rng.normal(0, 1e-21, 8 * 4096)


def opened(path: Path, detector: str = "H1") -> Recording:
    return open_recordings([f"{detector}={path}"])[detector]


def test_reads_any_part(tmp_path, strain):
    recording = opened(write_strain(tmp_path / "h.hdf5", "H1", strain))
    assert (recording.rate, recording.start, recording.end) == (4096, START, START + 8)
    assert np.array_equal(recording.read(START + 2, 4096), strain[8192:12288])


def test_what_is_not_there_is_nan(tmp_path, strain):
    read = opened(write_strain(tmp_path / "h.hdf5", "H1", strain)).read(START - 1, 10 * 4096)
    assert np.isnan(read[:4096]).all()
    assert np.isnan(read[-4096:]).all()
    assert np.array_equal(read[4096:-4096], strain)


def test_joins_files_and_leaves_what_is_between_missing(tmp_path, strain):
    later = write_strain(tmp_path / "b.hdf5", "H1", strain, start=START + 10)
    first = write_strain(tmp_path / "a.hdf5", "H1", strain)
    recording = open_recordings([f"H1={later}", f"H1={first}"])["H1"]
    read = recording.read(START + 7, 4 * 4096)
    assert np.array_equal(read[:4096], strain[-4096:])
    assert np.isnan(read[4096 : 3 * 4096]).all()
    assert np.array_equal(read[3 * 4096 :], strain[:4096])


def test_reads_the_files_of_gwosc(shared):
    path = shared / "data" / "gwosc" / "H-H1_LOSC_4_V2-1126259446-32.hdf5"
    recording = opened(path)
    assert (recording.rate, recording.start, recording.end) == (4096, 1126259446, 1126259478)
    with h5py.File(path) as file:
        assert np.array_equal(recording.read(1126259450, 4096), file["strain/Strain"][16384:20480])


# --- files that are wrong or hostile ---------------------------------------------------------


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def external_link(file, folder: Path) -> None:
    write_strain(folder / "other.hdf5", "H1", np.ones(8 * 4096))
    file["strain/Strain"] = h5py.ExternalLink("other.hdf5", "/strain/Strain")


def external_group(file, folder: Path) -> None:
    write_strain(folder / "other.hdf5", "H1", np.ones(8 * 4096))
    file["strain"] = h5py.ExternalLink("other.hdf5", "/strain")


def soft_link(file, folder: Path) -> None:
    file["strain/Strain"] = h5py.SoftLink("/etc")


def raw_outside(file, folder: Path) -> None:
    (folder / "secret").write_bytes(b"\1" * 8 * 4096)
    file.create_dataset(
        "strain/Strain", (4096,), "f8", external=[(str(folder / "secret"), 0, 8 * 4096)]
    )


def virtual(file, folder: Path) -> None:
    write_strain(folder / "other.hdf5", "H1", np.ones(8 * 4096))
    layout = h5py.VirtualLayout((8 * 4096,), "f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.hdf5"), "strain/Strain", (8 * 4096,))
    file.create_virtual_dataset("strain/Strain", layout)


def pickled(file, folder: Path) -> None:
    file["strain/Strain"] = np.void(pickle.dumps(Trap(folder / "sprung")))


def pickled_objects(file, folder: Path) -> None:
    data = file.create_dataset("strain/Strain", (64,), dtype=h5py.vlen_dtype(np.uint8))
    data[0] = np.frombuffer(pickle.dumps(Trap(folder / "sprung")), np.uint8)


def whole_numbers(file, folder: Path) -> None:
    file["strain/Strain"] = np.ones(8 * 4096, np.int64)


def two_rows(file, folder: Path) -> None:
    file["strain/Strain"] = np.ones((2, 4096))


def huge_chunk(file, folder: Path) -> None:
    file.create_dataset("strain/Strain", (2**30,), "f8", chunks=(2**28,), compression="gzip")


def no_strain(file, folder: Path) -> None:
    file["else"] = np.ones(4096)


def link_to_meta(file, folder: Path) -> None:
    file["strain/Strain"] = np.ones(8 * 4096)
    file["strain/Strain"].attrs["Xspacing"] = 1 / 4096
    file["meta"] = h5py.ExternalLink("/etc/passwd", "/")


HOSTILE = {
    external_link: "is a link",
    external_group: "is a link",
    soft_link: "is a link",
    raw_outside: "in other files",
    virtual: "in other files",
    pickled: "not floating-point",
    pickled_objects: "not floating-point",
    whole_numbers: "not floating-point",
    two_rows: "one long row",
    huge_chunk: "too large to read in parts",
    no_strain: "has no data set",
    link_to_meta: "is a link",
}


@pytest.mark.parametrize("make", HOSTILE)
def test_refuses_what_is_no_plain_strain(tmp_path, make):
    path = tmp_path / "bad.hdf5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
        with contextlib.suppress(KeyError, OSError):  # links that lead nowhere
            file["strain/Strain"].attrs.update({"Xspacing": 1 / 4096, "Xstart": START})
    with pytest.raises(UserError, match=HOSTILE[make]):
        opened(path)
    assert not (tmp_path / "sprung").exists()


def test_refuses_a_filter_that_needs_a_plug_in(tmp_path, strain, monkeypatch):
    path = write_strain(tmp_path / "h.hdf5", "H1", strain, compression="gzip")
    opened(path)
    monkeypatch.setattr(strain_files, "ALLOWED_FILTERS", set())
    with pytest.raises(UserError, match="plug-in"):
        opened(path)


@pytest.mark.parametrize(
    ("rate", "start", "match"),
    [
        (1024, START, "4 kHz or 16 kHz file"),
        (4096.4, START, "not a whole number"),
        (-1, START, "not a whole number"),
        (float("nan"), START, "not a number"),
        ("fast", START, "not a number"),
        (4096, float("inf"), "not a number"),
    ],
)
def test_refuses_senseless_numbers(tmp_path, strain, rate, start, match):
    path = write_strain(tmp_path / "h.hdf5", "H1", strain)
    with h5py.File(path, "a") as file:
        attributes = file["strain/Strain"].attrs
        attributes["Xspacing"] = rate if isinstance(rate, str) else 1 / rate
        attributes["Xstart"] = start
    with pytest.raises(UserError, match=match):
        opened(path)


def test_refuses_the_other_detectors_file(tmp_path, strain):
    path = write_strain(tmp_path / "l.hdf5", "L1", strain)
    with pytest.raises(UserError, match=r"holds strain of L1 .* write L1="):
        opened(path)


@pytest.mark.parametrize(
    ("found", "match"),
    [
        ("K1", "holds strain of K1, which the networks do not know, and was given for V1: give a"),
        ("h1", "holds strain of h1 and was given for V1: write H1="),
        ("v1", None),
        (" V1", None),
    ],
)
def test_the_detector_that_a_file_names_is_believed(tmp_path, strain, found, match):
    path = write_strain(tmp_path / "v.hdf5", found, strain)
    if match is None:
        assert opened(path, "V1").detector == "V1"
        assert list(open_recordings([f"v1={path}"])) == ["V1"]  # and that of the command line
    else:
        with pytest.raises(UserError, match=match):
            open_recordings([f"V1={path}"])


@pytest.mark.parametrize(
    ("channel", "match"),
    [
        ("H1:GDS-CALIB_STRAIN", "begins with L1: and this one is of H1"),
        ("K1:CAL-CS_PROC_DARM_STRAIN", "begins with L1: and this one is of K1"),
        ("STRAIN", "begins with L1: and this one is of no detector"),
    ],
)
def test_refuses_a_channel_of_another_detector(tmp_path, channel, match):
    path = tmp_path / "l.gwf"
    path.write_bytes(b"IGWD" + bytes(100))
    with pytest.raises(UserError, match=match):
        open_recordings([f"L1={path}"], [f"L1={channel}"])


def test_refuses_damaged_files(tmp_path, strain):
    raw = write_strain(tmp_path / "h.hdf5", "H1", strain, compression="gzip").read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match="is damaged"):
        opened(tmp_path / "cut.hdf5")
    middle = len(raw) // 2
    (tmp_path / "bits.hdf5").write_bytes(raw[:middle] + os.urandom(2000) + raw[middle + 2000 :])
    with pytest.raises(UserError, match="is damaged between samples"):
        opened(tmp_path / "bits.hdf5").read(START, 8 * 4096)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["H1"], "expected DETECTOR=FILE"),
        (["H1="], "expected DETECTOR=FILE"),
        (["H2=x"], "there is no detector 'H2'"),
        (["H1=nowhere.hdf5"], "there is no file"),
        (["H1=text.hdf5"], "neither HDF5 nor GWF"),
        (["H1=empty.hdf5"], "neither HDF5 nor GWF"),
        (["H1=a.hdf5", "H1=a.hdf5"], "overlap"),
        (["H1=a.hdf5", "H1=slow.hdf5"], "of one rate"),
    ],
)
def test_mistakes_of_the_command_line(tmp_path, monkeypatch, strain, words, match):
    monkeypatch.chdir(tmp_path)
    write_strain(tmp_path / "a.hdf5", "H1", strain)
    write_strain(tmp_path / "slow.hdf5", "H1", strain, rate=2048, start=START + 100)
    (tmp_path / "text.hdf5").write_text("no strain")
    (tmp_path / "empty.hdf5").touch()
    with pytest.raises(UserError, match=match):
        open_recordings(words)


# --- gwpy ------------------------------------------------------------------------------------


def test_frame_files(tmp_path, strain):
    pytest.importorskip("lalframe")
    series = pytest.importorskip("gwpy.timeseries").TimeSeries
    name = "L1:GWOSC-4KHZ_R1_STRAIN"
    path = tmp_path / "l.gwf"
    series(strain, t0=START, sample_rate=4096, name=name, channel=name).write(path, format="gwf")
    recording = opened(path, "L1")
    assert (recording.rate, recording.start, recording.end) == (4096, START, START + 8)
    assert np.array_equal(recording.read(START + 3, 5000), strain[12288 : 12288 + 5000])
    with pytest.raises(UserError, match="no strain channels of H1"):
        opened(path)
    with pytest.raises(UserError, match="has no channel 'L1:ELSE'"):
        open_recordings([f"L1={path}"], ["L1=L1:ELSE"])
    # The library of some installations crashes on these; that must stay one sentence.
    for content in (b"IGWD" + bytes(100), path.read_bytes()[:50_000]):
        (tmp_path / "bad.gwf").write_bytes(content)
        with pytest.raises(UserError, match="download it again"):
            opened(tmp_path / "bad.gwf", "L1")
    assert opened(path, "L1").end == START + 8  # the reader has come back


def test_says_which_extra_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gwpy.timeseries", None)
    with pytest.raises((UserError, ModuleNotFoundError)) as caught:
        fetch_event("GW150914")
    assert "gwpy" in str(caught.value)


class Fetched:
    """What gwpy's open-data call would return."""

    def __init__(self, start: float) -> None:
        self.value = np.zeros(512 * 4096)
        self.sample_rate, self.t0 = Number(4096), Number(start)


class Number:
    def __init__(self, value: float) -> None:
        self.value = value


@pytest.fixture
def service(monkeypatch):
    """A stand-in of gwpy and gwosc, which need a network."""

    def fetch_open_data(detector, start, end, sample_rate):
        return Fetched(start)

    def gps(event):
        if event != "GW150914":
            raise ValueError(f"Event {event} not found")
        return 1126259462.4

    modules = {
        "gwpy.timeseries": types.SimpleNamespace(
            TimeSeries=types.SimpleNamespace(fetch_open_data=fetch_open_data)
        ),
        "gwosc.datasets": types.SimpleNamespace(
            event_gps=gps, event_detectors=lambda event: {"H1", "L1", "G1"}
        ),
    }
    monkeypatch.setattr(strain_files, "require", lambda name, extra: modules[name])
    return modules


def test_fetches_an_event(service):
    found = fetch_event("GW150914")
    assert list(found) == ["H1", "L1"]
    assert (found["H1"].start, found["H1"].end) == (1126259206, 1126259206 + 512)


def test_events_that_cannot_be_fetched(service):
    with pytest.raises(UserError, match="check the name and the network"):
        fetch_event("GW150915")
    with pytest.raises(UserError, match="is no name of an event"):
        fetch_event("../GW150914")

    def offline(event):
        raise OSError("no route to host")

    service["gwosc.datasets"].event_gps = offline
    with pytest.raises(UserError, match="no route to host"):
        fetch_event("GW150914")


def test_held_strain():
    recording = Recording("H1", [StrainInMemory("held", np.arange(4096.0), 2048, 10.0)])
    assert recording.end == 12.0
    assert np.array_equal(recording.read(11.0, 3), [2048, 2049, 2050])
