"""HDF5 files of gwpy, PyCBC and the MLGWSC-1 challenge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from real_strain import START, open_strain, write_strain

from data.strain_files import open_recordings
from runtime.errors import UserError

h5py = pytest.importorskip("h5py")

GWPY = {"x0": float(START), "dx": 1 / 4096, "xunit": "s", "unit": "strain"}
PYCBC = {"start_time": float(START), "delta_t": 1 / 4096}


def write_series(path: Path, **data_sets: tuple[np.ndarray, dict]) -> Path:
    """Write data sets with attributes; '__' in a name stands for '/' and '_at_' for ':'."""
    with h5py.File(path, "w") as file:
        for name, (values, attributes) in data_sets.items():
            place = name.replace("__", "/").replace("_at_", ":")
            file.create_dataset(place, data=values).attrs.update(attributes)
    return path


def check_is_read(path: Path, detector: str, expected: np.ndarray, channel: str = "") -> None:
    channels = [f"{detector}={channel}"] if channel else []
    recording = open_recordings([f"{detector}={path}"], channels)[detector]
    assert (recording.rate, recording.start) == (4096, START)
    assert recording.usable_segments() == [(START, START + len(expected) / 4096)]
    assert np.array_equal(recording.read(START + 1, 4096), expected[4096:8192])


def test_a_file_that_gwpy_writes(tmp_path, strain) -> None:
    series = pytest.importorskip("gwpy.timeseries").TimeSeries
    name = "H1:GDS-CALIB_STRAIN"
    written = series(strain, t0=START, sample_rate=4096, name=name, channel=name, unit="strain")
    written.write(tmp_path / "one.hdf5")
    written.write(tmp_path / "path.hdf5", path="strain")  # which is GWOSC's name for a group
    for file in ("one.hdf5", "path.hdf5"):
        check_is_read(tmp_path / file, "H1", strain)
        (source,) = open_strain(tmp_path / file).sources
        assert source.calibration == "GDS-CALIB_STRAIN"
        with pytest.raises(UserError, match=r"holds strain of H1 and was given for L1"):
            open_strain(tmp_path / file, "L1")


def test_a_file_of_several_detectors_that_gwpy_writes(tmp_path, strain) -> None:
    """A TimeSeriesDict, as in aframe's background-<start>-<duration>.hdf5."""
    timeseries = pytest.importorskip("gwpy.timeseries")
    both = timeseries.TimeSeriesDict()
    for sign, name in ((1, "H1"), (-1, "L1")):
        both[name] = timeseries.TimeSeries(sign * strain, t0=START, sample_rate=4096)
    path = tmp_path / f"background-{START}-8.hdf5"
    both.write(path)
    check_is_read(path, "H1", strain)
    check_is_read(path, "L1", -strain)
    with pytest.raises(UserError, match="holds strain of H1 and L1 and was given for V1"):
        open_strain(path, "V1")


def test_a_file_of_pycbc(tmp_path, strain) -> None:
    """As `TimeSeries.save` of PyCBC lays it out: nothing but its name says whose strain it is."""
    path = write_series(tmp_path / "h.hdf", data=(strain, PYCBC))
    check_is_read(path, "H1", strain)
    check_is_read(path, "L1", strain)
    named = path.rename(tmp_path / "H-H1_STRAIN-1-8.hdf")
    check_is_read(named, "H1", strain)
    with pytest.raises(UserError, match="holds strain of H1 and was given for L1"):
        open_strain(named, "L1")


def test_a_file_of_the_challenge(tmp_path, strain) -> None:
    """Groups of detectors with a data set a segment, some of them one after the other."""
    path = tmp_path / "foreground.hdf"
    starts = (START, START + 2, START + 10)
    with h5py.File(path, "w") as file:
        for sign, name in ((1, "H1"), (-1, "L1")):
            for number, start in enumerate(starts):
                part = sign * strain[number * 8192 : (number + 1) * 8192]
                data = file.create_dataset(f"{name}/{start}", data=part, compression="gzip")
                data.attrs["delta_t"], data.attrs["start_time"] = 1 / 4096, start
    recordings = open_recordings([f"H1={path}", f"L1={path}"])
    for sign, name in ((1, "H1"), (-1, "L1")):
        recording = recordings[name]
        assert len(recording.sources) == 3
        assert recording.data_segments() == [(START, START + 4), (START + 10, START + 12)]
        read = recording.read(START + 1.5, 4096)  # across two segments
        assert np.array_equal(read, sign * strain[6144 : 6144 + 4096])
        assert np.isnan(recording.read(START + 5, 100)).all()
    digests = recordings["H1"].content_digests()
    assert len(set(digests)) == 3
    assert digests[0].endswith(f"H1/{START}")


def test_several_channels_of_a_detector(tmp_path, strain) -> None:
    two = {
        "H1_at_A": (strain, GWPY | {"channel": "H1:A"}),
        "H1_at_B": (-strain, GWPY | {"channel": "H1:B"}),
    }
    path = write_series(tmp_path / "h.hdf5", **two)
    with pytest.raises(UserError, match=r"several channels of H1: name one with .* H1:A, H1:B"):
        open_strain(path)
    with pytest.raises(UserError, match=r"no channel 'H1:C' of H1: name one with"):
        open_recordings([f"H1={path}"], ["H1=H1:C"])
    check_is_read(path, "H1", -strain, "H1:B")
    check_is_read(path, "H1", -strain, "h1:b")
    # The one that is called strain is the strain.
    more = two | {"H1_at_GDS-CALIB_STRAIN": (strain / 2, GWPY)}
    check_is_read(write_series(tmp_path / "more.hdf5", **more), "H1", strain / 2)


def test_a_channel_that_contradicts_its_place(tmp_path, strain) -> None:
    path = write_series(tmp_path / "x.hdf5", H1=(strain, GWPY | {"channel": "L1:STRAIN"}))
    for name in ("H1", "L1"):
        with pytest.raises(UserError, match=r"'H1' names H1 and L1 at once .*'L1:STRAIN'"):
            open_strain(path, name)


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({}, "has no data set of strain: expected 'strain/Strain' as in files of GWOSC, or one"),
        ({"x0": 0.0}, "has no data set of strain"),
        ({"x0": "now", "dx": 1 / 4096}, "x0 of 'H1' is not a number"),
        ({"x0": 0.0, "dx": 0.0}, "is not a whole number of Hz"),
        ({"x0": 0.0, "dx": 1 / 1024}, "x.hdf5:H1 is sampled at 1024 Hz"),
        ({"start_time": np.inf, "delta_t": 1 / 4096}, "start_time of 'H1' is not a number"),
    ],
)
def test_what_a_series_says_of_itself(tmp_path, strain, attributes, match) -> None:
    path = write_series(tmp_path / "x.hdf5", H1=(strain, attributes))
    with pytest.raises(UserError, match=match):
        open_strain(path)


def test_links_and_circles_are_not_followed(tmp_path, strain) -> None:
    write_strain(tmp_path / "other.hdf5", "H1", strain)
    path = tmp_path / "x.hdf5"
    with h5py.File(path, "w") as file:
        file["H1"] = h5py.ExternalLink("other.hdf5", "/strain/Strain")
        file["group/round"] = file["/"]
    with pytest.raises(UserError, match=r"no data set of strain \('H1' is a link and is not foll"):
        open_strain(path)
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((8 * 4096,), "f8")
        layout[:] = h5py.VirtualSource("other.hdf5", "strain/Strain", (8 * 4096,))
        file.create_virtual_dataset("L1", layout).attrs.update(GWPY)
    with pytest.raises(UserError, match="'L1' keeps its numbers in other files"):
        open_strain(path, "L1")
