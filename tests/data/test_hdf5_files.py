"""HDF5 strain files: what is read of them, and what is refused."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from real_strain import START, open_strain, write_strain

from data import hdf5_files
from data.quality_bits import INJECTION_BITS, SIMPLE_BITS
from data.strain_files import open_recordings
from runtime.errors import UserError

h5py = pytest.importorskip("h5py")


def test_reads_any_part(tmp_path, strain):
    recording = open_strain(write_strain(tmp_path / "h.hdf5", "H1", strain))
    assert (recording.rate, recording.start, recording.end) == (4096, START, START + 8)
    assert np.array_equal(recording.read(START + 2, 4096), strain[8192:12288])


def test_reads_the_files_of_gwosc(shared):
    path = shared / "data" / "gwosc" / "H-H1_LOSC_4_V2-1126259446-32.hdf5"
    recording = open_strain(path)
    assert (recording.rate, recording.start, recording.end) == (4096, 1126259446, 1126259478)
    with h5py.File(path) as file:
        assert np.array_equal(recording.read(1126259450, 4096), file["strain/Strain"][16384:20480])


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
        open_strain(path)
    assert not (tmp_path / "sprung").exists()


def test_refuses_a_filter_that_needs_a_plug_in(tmp_path, strain, monkeypatch):
    path = write_strain(tmp_path / "h.hdf5", "H1", strain, compression="gzip")
    open_strain(path)
    monkeypatch.setattr(hdf5_files, "ALLOWED_FILTERS", set())
    with pytest.raises(UserError, match="plug-in"):
        open_strain(path)


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
        open_strain(path)


def test_refuses_the_other_detectors_file(tmp_path, strain):
    path = write_strain(tmp_path / "l.hdf5", "L1", strain)
    with pytest.raises(UserError, match=r"holds strain of L1 .*--strain L1="):
        open_strain(path)


def test_a_name_says_whose_strain_it_is_where_the_file_does_not(tmp_path, strain):
    path = write_strain(tmp_path / "L-L1_GWOSC_4KHZ_R1-1-8.hdf5", "", strain)
    with pytest.raises(UserError, match="holds strain of L1 and was given for H1"):
        open_strain(path)
    assert open_strain(path, "L1").detector == "L1"
    unknown = write_strain(tmp_path / "any.hdf5", "", strain)
    assert open_strain(unknown, "V1").detector == "V1"


def test_refuses_damaged_files(tmp_path, strain):
    raw = write_strain(tmp_path / "h.hdf5", "H1", strain, compression="gzip").read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match="is damaged"):
        open_strain(tmp_path / "cut.hdf5")
    middle = len(raw) // 2
    (tmp_path / "bits.hdf5").write_bytes(raw[:middle] + os.urandom(2000) + raw[middle + 2000 :])
    with pytest.raises(UserError, match="is damaged between samples"):
        open_strain(tmp_path / "bits.hdf5").read(START, 8 * 4096)


def add_masks(path: Path, quality, injections) -> Path:
    """Add data-quality and injection bits as GWOSC lays them out, at 1 Hz."""
    with h5py.File(path, "a") as file:
        for place, names_place, names, values in (
            ("simple/DQmask", "simple/DQShortnames", SIMPLE_BITS, quality),
            ("injections/Injmask", "injections/InjShortnames", INJECTION_BITS, injections),
        ):
            mask = file.create_dataset(f"quality/{place}", data=np.array(values, np.uint32))
            mask.attrs["Xspacing"], mask.attrs["Xstart"] = 1.0, START
            file[f"quality/{names_place}"] = np.array([name.encode() for name in names])
    return path


def test_data_quality_and_injection_bits(tmp_path, strain):
    path = write_strain(tmp_path / "h.hdf5", "H1", strain)
    add_masks(path, [0, 1, 3, 127, 127, 127, 127, 126], [31, 31, 31, 31, 30, 23, 31, 31])
    recording = open_strain(path)
    assert recording.excluded_segments() == {
        "DATA": [(START, START + 1), (START + 7, START + 8)],
        "CBC_CAT1": [(START, START + 2)],
        "CBC_CAT2": [(START, START + 3)],
        "NO_CBC_HW_INJ": [(START + 4, START + 5)],
    }
    # The bit of continuous waves in second 5 does not matter.
    assert recording.usable_segments() == [(START + 3, START + 4), (START + 5, START + 7)]
    strict = open_recordings([f"H1={path}"], data_quality=("NO_CW_HW_INJ",))["H1"]
    assert strict.usable_segments() == [(START, START + 5), (START + 6, START + 8)]
    with pytest.raises(UserError, match=r"has no data-quality bit 'CAT1'.*its bits are DATA, CBC"):
        open_recordings([f"H1={path}"], data_quality=("CAT1",))


def test_the_bits_of_gwosc(shared):
    for path in sorted((shared / "data" / "gwosc").glob("*.hdf5")):
        detector = path.name[2:4]
        recording = open_strain(path, detector)
        assert recording.usable_segments() == [(1126259446, 1126259478)]
        assert recording.sources[0].calibration == "LOSC-4KHZ_V2_STRAIN"
        waves = open_recordings([f"{detector}={path}"], data_quality=("NO_CW_HW_INJ",))[detector]
        # Continuous waves were injected into Livingston alone.
        assert bool(waves.usable_segments()) == (detector == "H1")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda q: q["simple"].create_dataset("DQmask", data=np.ones(8)),
            "no row of whole numbers",
        ),
        (
            lambda q: q["simple"].__setitem__("DQmask", h5py.ExternalLink("x.hdf5", "/x")),
            "is a link",
        ),
        (
            lambda q: (
                q["simple"].create_dataset("DQmask", (8,), "u4").attrs.update({"Xstart": "x"})
            ),
            "Xstart of 'quality/simple/DQmask' is not a number",
        ),
    ],
)
def test_damaged_masks(tmp_path, strain, change, match):
    path = write_strain(tmp_path / "h.hdf5", "H1", strain)
    add_masks(path, [127] * 8, [31] * 8)
    with h5py.File(path, "a") as file:
        del file["quality/simple/DQmask"]
        change(file["quality"])
    with pytest.raises(UserError, match=match):
        open_strain(path)


def test_the_release_that_newer_files_name(tmp_path, strain):
    path = write_strain(tmp_path / "h.hdf5", "H1", strain)
    with h5py.File(path, "a") as file:
        file["strain/GWOSCmeta"] = "GWOSC-4KHZ_R1_STRAIN"
    assert open_strain(path).sources[0].calibration == "GWOSC-4KHZ_R1_STRAIN"
