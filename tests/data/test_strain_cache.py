"""Reading a cache: rows as they were written, found by id; no fake gets in."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from data import strain_cache
from data.cache_writer import write_cache
from data.strain_cache import PAGE, PREFIX, StrainCache, encode_ascii, encode_utf8
from runtime.errors import UserError


def test_rows_come_in_the_order_asked_for(files, cache_path: Path) -> None:
    strain = files[2].astype(np.float32)
    rows = [149, 3, 3, 0, 77]
    found = StrainCache(cache_path).read(rows)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, strain[rows])
    assert StrainCache(cache_path).read([]).shape == (0, 3, 4096)
    for wrong in ([-1], [150]):
        with pytest.raises(IndexError):
            StrainCache(cache_path).read(wrong)


def test_rows_read_are_a_copy_and_the_map_is_read_only(cache_path: Path) -> None:
    cache = StrainCache(cache_path)
    first = cache.read([0])
    first *= 0
    assert cache.read([0]).any()
    with pytest.raises(ValueError, match="read-only"):
        cache.data[0] = 0


def test_ids_are_found_by_name(files, cache_path: Path) -> None:
    cache, ids = StrainCache(cache_path), files[0]
    wanted = [ids[5], ids[149], ids[0]]
    assert cache.rows_of(wanted).tolist() == [5, 149, 0]
    assert cache.find(["zzz", ids[1], "", "a-much-longer-id", "é"]).tolist() == [-1, 1, -1, -1, -1]
    with pytest.raises(UserError, match="lacks 1 of 2 ids, the first 'zzz'"):
        cache.rows_of([ids[0], "zzz"])


def test_pickled_cache_is_small_and_opens_again(files, cache_path: Path, tmp_path: Path) -> None:
    cache = StrainCache(cache_path)
    assert cache.rows_of(files[0][:1]) == [0]  # whatever was cached is not pickled
    text = pickle.dumps(cache)
    assert len(text) < 1000
    np.testing.assert_array_equal(pickle.loads(text).read([7]), cache.read([7]))


def test_a_cache_replaced_in_use_is_refused(files, tmp_path: Path) -> None:
    path = tmp_path / "c.f32"
    write_cache(path, files[0][:4], files[1][:4], processes=1)
    text = pickle.dumps(StrainCache(path))
    write_cache(path, files[0][4:8], files[1][4:8], processes=1, overwrite=True)
    with pytest.raises(UserError, match="replaced"):
        pickle.loads(text)


def with_header(data: bytes, **changes: object) -> bytes:
    """Return a cache whose JSON header says something else."""
    _, version, length = PREFIX.unpack(data[: PREFIX.size])
    header = json.loads(data[PREFIX.size : PREFIX.size + length]) | changes
    text = json.dumps(header).encode()
    start = PREFIX.pack(strain_cache.MAGIC, version, len(text)) + text
    return start.ljust(PAGE, b"\0") + data[PAGE:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:-1], "cut short"),
        (lambda d: d + b"\0", "cut short or written"),
        (lambda d: d[:10], "not a strain cache"),
        (lambda d: b"", "not a strain cache"),
        (lambda d: b"\x80\x04" + d[2:], "not a strain cache"),
        (lambda d: PREFIX.pack(b"G2STRAIN", 2, 9) + d[16:], "format 2, expected 1"),
        (lambda d: d[:16] + b"{" * 20 + d[36:], "damaged header"),
        (lambda d: d[:16] + b"\xff" * 20 + d[36:], "damaged header"),
        (lambda d: PREFIX.pack(b"G2STRAIN", 1, 2**32 - 1) + d[16:], "damaged header"),
        (lambda d: with_header(d, shape=[4, 2, 4096]), "expected float32 of shape"),
        (lambda d: with_header(d, shape=7), "damaged header"),
        (lambda d: with_header(d, dtype=">f4"), "expected float32"),
        (lambda d: with_header(d, dtype="O"), "expected float32"),
        (lambda d: with_header(d, shape=[3, 3, 4096]), "bytes, expected"),
        (lambda d: with_header(d, shape=[True, 3, 4096]), "expected float32"),
        (lambda d: with_header(d, id_width=10**9), "expected float32"),
        (lambda d: with_header(d, data_offset=-PAGE), "expected float32"),
    ],
)
def test_foreign_and_damaged_caches_are_refused(files, tmp_path: Path, change, message) -> None:
    path = tmp_path / "c.f32"
    write_cache(path, files[0][:4], files[1][:4], processes=1)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message) as refusal:
        StrainCache(path)
    assert "prep_data.py --cache" in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_missing_cache_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.f32.*prep_data\.py --cache"):
        StrainCache(tmp_path / "none.f32")


OPENED = """
import pathlib, sys
import numpy as np
from data.strain_cache import StrainCache
def peak():  # MiB; unlike ru_maxrss it does not count the parent before exec
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
before = peak()
cache = StrainCache(sys.argv[1])
wanted = [f"{i:010x}" for i in range(559_999, 0, -1000)]
rows = cache.rows_of(wanted)
assert cache.ids[rows].tolist() == wanted
cache.read(rows[:64])
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_cache_of_full_size_is_opened_without_reading_it(tmp_path: Path) -> None:
    """560,000 rows, 25.6 GiB, as a sparse file: opened, looked up in and read from."""
    ids = [f"{i:010x}" for i in np.random.default_rng(0).permutation(560_000)]
    names = np.char.encode(np.array(ids), "ascii")
    header = strain_cache.make_header(names, "")
    path = tmp_path / "big.f32"
    with open(path, "wb") as file:
        file.write(strain_cache.encode_header(header) + names.tobytes())
        file.truncate(strain_cache.file_size(header))
    assert path.stat().st_size > 25 * 2**30
    command = [sys.executable, "-c", OPENED, str(path)]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert float(result.stdout) < 200  # MiB, with all ids sorted and a batch read; measured: 38


@pytest.mark.parametrize("ids", [["a", "b9", "ü", "日本", "x?y"], ["", "a"], [], ["plain"] * 3])
def test_ids_become_bytes_as_numpy_encodes_them(ids: list[str]) -> None:
    array = np.array(ids, dtype=np.str_)
    wanted = np.char.encode(array, "ascii", "replace")
    np.testing.assert_array_equal(encode_ascii(array), wanted)
    np.testing.assert_array_equal(encode_ascii(array[::2]), wanted[::2])  # not in one block
    np.testing.assert_array_equal(encode_utf8(array), np.char.encode(array, "utf-8"))


def test_ids_are_found_in_any_order(cache_path: Path, rng: np.random.Generator) -> None:
    cache = StrainCache(cache_path)
    np.testing.assert_array_equal(cache.find(cache.ids), np.arange(len(cache)))
    for rows in (rng.permutation(len(cache)), np.arange(3, len(cache), 2), [5, 5, 0]):
        np.testing.assert_array_equal(cache.find(cache.ids[rows]), rows)
    wanted = np.append(cache.ids[[7, 2]], ["not-there", "ü"])
    np.testing.assert_array_equal(cache.find(wanted), [7, 2, -1, -1])
