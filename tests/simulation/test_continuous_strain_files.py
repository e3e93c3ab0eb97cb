"""Files of simulated strain, as other programs and the search read them."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from physics.population import Population
from runtime.errors import UserError
from simulation.continuous_strain_files import (
    STARTED,
    Segment,
    StrainFile,
    find_strain,
    format_injection,
    injection_columns,
    read_record,
    waveform_arguments,
)

SEGMENT = Segment(3, 1_238_166_018, 32)
RATE = 2048
VALUES = np.random.default_rng(5).standard_normal(32 * RATE)


@pytest.fixture
def strain_file(tmp_path: Path) -> Path:
    path = tmp_path / Path(SEGMENT.strain_file("foreground", "V1")).name
    with StrainFile(path, "V1", "foreground", SEGMENT, RATE) as file:
        file.write(VALUES[:50_000])
        file.write(VALUES[50_000:])
    return path


def test_names_are_those_of_ligo(strain_file: Path) -> None:
    assert strain_file.name == "V-V1_FOREGROUND-1238166018-32.hdf"


def test_the_search_reads_it(strain_file: Path) -> None:
    from data.strain_files import open_recordings

    recording = open_recordings([f"V1={strain_file}"])["V1"]
    assert (recording.rate, recording.start, recording.end) == (RATE, SEGMENT.start, SEGMENT.end)
    found = recording.read(SEGMENT.start, len(VALUES))
    np.testing.assert_allclose(found, VALUES * 1e-21, rtol=1e-7)
    with pytest.raises(UserError, match="V1"):
        open_recordings([f"H1={strain_file}"])


@pytest.mark.filterwarnings("ignore")
def test_gwpy_reads_it(strain_file: Path) -> None:
    gwpy = pytest.importorskip("gwpy.timeseries")
    series = gwpy.TimeSeries.read(strain_file, format="hdf5", path="V1")
    assert (series.t0.value, series.sample_rate.value) == (SEGMENT.start, RATE)
    assert (str(series.unit), str(series.channel)) == ("strain", "V1:STRAIN")
    np.testing.assert_array_equal(series.value, (VALUES * 1e-21).astype(np.float32))
    together = gwpy.TimeSeriesDict.read(strain_file, format="hdf5")
    assert list(together) == ["V1"]
    as_gwosc = gwpy.TimeSeries.read(strain_file, format="hdf5.gwosc")
    np.testing.assert_array_equal(as_gwosc.value, series.value)
    assert as_gwosc.t0 == series.t0


def test_pycbc_finds_what_it_looks_for(strain_file: Path) -> None:
    """`load_timeseries` of PyCBC 2.11 for a path that ends in .hdf, line by line."""
    import h5py

    assert strain_file.suffix == ".hdf"
    with h5py.File(strain_file, "r") as f:
        data = f["data"][:]
        assert f["data"].attrs["delta_t"] == 1 / RATE
        assert f["data"].attrs["start_time"] == SEGMENT.start
    np.testing.assert_array_equal(data, (VALUES * 1e-21).astype(np.float32))


def test_pycbc_itself_reads_it(strain_file: Path) -> None:
    timeseries = pytest.importorskip("pycbc.types.timeseries")
    series = timeseries.load_timeseries(str(strain_file))
    assert float(series.start_time) == SEGMENT.start
    assert series.delta_t == 1 / RATE
    np.testing.assert_array_equal(series.numpy(), (VALUES * 1e-21).astype(np.float32))


def test_samples_are_stored_once_and_views_follow_a_renamed_file(strain_file: Path) -> None:
    import h5py

    assert strain_file.stat().st_size < 4.1 * len(VALUES) + 8192
    moved = strain_file.rename(strain_file.with_name("other.hdf"))
    with h5py.File(moved) as f:
        np.testing.assert_array_equal(f["V1"][:], f["strain/Strain"][:])
        assert np.abs(f["V1"][:]).max() > 0


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    class FullDisk:
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    with StrainFile(tmp_path / "a.hdf", "H1", "background", SEGMENT, RATE) as file:
        file.file.close()
        file.file = FullDisk()
        with pytest.raises(UserError, match=r"full disk.*run the same command again"):
            file.write(VALUES)


def test_a_record_counts_only_with_all_its_files(tmp_path: Path) -> None:
    path = tmp_path / SEGMENT.record_file
    path.parent.mkdir()
    assert read_record(tmp_path, SEGMENT) is None
    path.write_text('{"files": {"a": {"bytes": 3}}, "injections": []}')
    assert read_record(tmp_path, SEGMENT) is None
    (tmp_path / "a").write_text("abc")
    assert read_record(tmp_path, SEGMENT)["injections"] == []
    (tmp_path / "a").write_text("ab")
    assert read_record(tmp_path, SEGMENT) is None
    for damaged in ("{", "[]", '{"files": {}}', '{"files": [], "injections": []}'):
        path.write_text(damaged)
        with pytest.raises(UserError, match="the segment is simulated again"):
            read_record(tmp_path, SEGMENT)


def test_folders_of_other_things_are_refused(tmp_path: Path) -> None:
    assert find_strain(tmp_path / "none") == ("absent", {})
    assert find_strain(tmp_path) == ("absent", {})
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="is not empty and holds no simulated strain"):
        find_strain(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        find_strain(tmp_path / "thesis.tex")
    (tmp_path / STARTED).write_text('{"settings": {"seed": 1}}')
    assert find_strain(tmp_path) == ("started", {"seed": 1})
    (tmp_path / STARTED).write_text("{}")
    with pytest.raises(UserError, match="choose another folder"):
        find_strain(tmp_path)


def test_numbers_in_the_table_lose_no_digit() -> None:
    columns = injection_columns(("H1",))
    row = dict.fromkeys(columns, 1 / 3) | waveform_arguments(Population(modes=(22, 33)))
    row["geocent_time"] = 1238166042.123456
    cells = dict(zip(columns, format_injection(row, ("H1",)), strict=True))
    assert float(cells["geocent_time"]) == row["geocent_time"]
    assert float(cells["snr_H1"]) == 1 / 3
    assert cells["waveform_approximant"] == "IMRPhenomPv2"
    assert cells["mode_array"] == "[[2, 2], [2, -2], [3, 3], [3, -3]]"
