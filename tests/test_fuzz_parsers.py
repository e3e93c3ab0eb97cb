"""What people and other programs write, at random: tables, settings, damaged files.

Each is read as it is meant or refused by a `UserError`; nothing else is raised, nothing is run, and
what is read keeps its promises.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from real_strain import write_strain

import configs
from configuration.config_class import ConfigMeta, find_config
from configuration.json_types import format_config
from configuration.overrides import override
from data.cache_writer import write_cache
from data.data_quality import read_segments
from data.sample_files import PLAIN_ID, load_index, read_strain
from data.strain_cache import StrainCache
from data.strain_files import open_recordings
from data.strain_paths import find_strain_files
from experiments.npy_files import load_array, save_array
from prep_data import read_labels
from runtime.errors import UserError
from runtime.files import read_json, write_json
from stack.tables import read_targets
from training.checkpoints import load_checkpoint, save_checkpoint
from training_extras import find_views

some = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def attempt(read: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """Return what was read, or why it was refused."""
    try:
        return read(*arguments), ""
    except UserError as error:
        return None, str(error) or "no reason"


# --- tables ----------------------------------------------------------------------------------

IDS = st.sampled_from(
    ["abc", "0a1", "x-_9", "", "..", "a/b", "1e5", "NaN", "é", "a\0b", "null", " "]
)
TARGETS = st.sampled_from(["0", "1", "0.5", "", "nan", "inf", "-1", "1e400", "0x1", "yes", "١"])
PATHS = st.sampled_from(
    [
        "a.npy",
        "a/b.npy",
        "a/../b.npy",
        "../b.npy",
        "a/../../b",
        "/etc/passwd",
        "",
        ".",
        "..",
        "//x",
        "~/x",
        "a\0b",
        "C:\\x",
        "./x",
        "a//b",
        "../input2/x",
        "\\..\\x",
        "....//x",
        "%2e%2e/x",
    ]
)
ROWS = st.lists(st.tuples(IDS, TARGETS, PATHS).map(",".join), max_size=4).map("\n".join)
ALPHABET = st.sampled_from(list("id,target,path\n\r\"'abc01.5-_/ \t\0;é\ufeff#"))
TABLES = st.one_of(
    ROWS.map(lambda rows: f"id,target,path\n{rows}\n".encode()),
    st.text(ALPHABET, max_size=80).map(str.encode),
    st.text(ALPHABET, max_size=60).map(lambda text: f"id,target,path\n{text}".encode()),
    st.binary(max_size=60),
)


@some
@given(content=TABLES)
def test_an_index_is_sound_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "input").mkdir(exist_ok=True)
    csv = tmp_path / "input" / "train.csv"
    csv.write_bytes(content)
    table, why = attempt(load_index, csv)
    if table is None:
        assert "train.csv" in why
        return
    assert len(table)
    assert table["id"].is_unique
    assert table["id"].str.fullmatch(PLAIN_ID).all()
    assert np.isfinite(table["target"]).all()
    inside = os.path.realpath(tmp_path / "input") + os.sep
    assert all(
        os.path.realpath(path).startswith(inside) for path in table["path"] if "\0" not in path
    )


@some
@given(content=TABLES)
def test_labels_are_sound_or_refused(tmp_path: Path, content: bytes) -> None:
    csv = tmp_path / "training_labels.csv"
    csv.write_bytes(content)
    for split in ("train", "test"):
        table, why = attempt(read_labels, csv, split)
        if table is None:
            assert "training_labels.csv" in why
            continue
        assert table["id"].is_unique
        assert table["target"].between(0, 1).all()
        assert split == "test" or table["target"].isin([0, 1]).all()
        assert all(re.fullmatch(rf"{split}/./././{PLAIN_ID}\.npy", path) for path in table["path"])


@some
@given(content=TABLES)
def test_targets_of_a_stack_are_sound_or_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "truth.csv").write_bytes(content)
    targets, why = attempt(read_targets, tmp_path / "truth.csv", np.array(["abc"]))
    assert "truth.csv" in why if targets is None else np.isin(targets, [0, 1]).all()


# --- settings --------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        *configs.Demo.fields(),
        "model_params.widths",
        "model_params.widths.0",
        "model_params.dropout",
        "model_params.second_concat",
        "transforms.train.0.band",
        "transforms.train.2.p",
        "callbacks.0",
        "callbacks.0.patience",
        "hook.alpha",
        "transforms.train",
        "transforms.train.-1.p",
        "seed.x",
        "optimizer_params.lr",
        "optimizer_params.betas.1",
        "criterion.x",
        "",
        ".",
        "..",
        "__class__",
        "model.__init__",
        "transforms.train.0.__dict__",
        "splitter_params.shuffle",
        "views.0",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            "1",
            "-1",
            "0.5",
            "true",
            "None",
            "NULL",
            "nan",
            "1e999",
            "[]",
            "[1, 2]",
            "(1,)",
            "{}",
            "{'a': 1}",
            "{1: 2}",
            "{[]: 1}",
            "{1, 2}",
            "b'x'",
            "1j",
            "...",
            "'x'",
            "x",
            "",
            "=",
            "a=b",
            "9" * 5000,
            "[" * 300,
            "('a' 'b')",
            "-'a'",
            "\0",
            "__import__('os')",
            "é",
            "lambda: 1",
            "{'lr': 1}",
            "{'lr': {1}}",
            "[b'x']",
            "{'a': ...}",
            "(1, 2j)",
            "[[[]]]",
            "1_000",
            "0o17",
        ]
    ),
    st.text(st.sampled_from(list("0123456789.,-+()[]{}'\":=eExjbaN_ \\#\n\0")), max_size=12),
)


@settings(some, max_examples=600)
@given(setting=st.one_of(st.tuples(KEYS, VALUES).map("=".join), st.text(max_size=20), VALUES))
@example("model_params.dropout={[]: 1}")
@example("model_params={1: 2}")
@example("optimizer_params.betas={1, 2}")
def test_a_setting_is_taken_or_refused(setting: str) -> None:
    config, why = attempt(override, configs.Demo, [setting])
    if config is None:
        assert "no reason" not in why
        return
    format_config(config.to_plain())  # whatever was taken can be written down
    for key in config.fields():
        if key not in (setting.split(".")[0].split("=")[0].strip(), "published"):
            assert getattr(config, key) == getattr(configs.Demo, key)  # and changed nothing else


@some
@given(name=st.text(max_size=12), view=st.text(st.sampled_from(list("shift+-0189٣x")), max_size=9))
def test_names_are_found_or_refused(name: str, view: str) -> None:
    assert attempt(find_config, name)[0] is not None or name not in ConfigMeta.registry
    views, why = attempt(find_views, [view])
    assert len(views) == 1 if views else "view" in why


# --- files that were damaged -----------------------------------------------------------------


def write_sample(path: Path) -> None:
    np.save(path, np.ones((3, 4096)))


def cache_of(path: Path) -> None:
    write_sample(path.with_suffix(".npy"))
    write_cache(path, ["abc"], [path.with_suffix(".npy")], processes=1)


def checkpoint(path: Path) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    save_checkpoint(
        path,
        {
            "model": {"weight": torch.ones(4, 5), "steps": torch.tensor(3)},
            "ema": None,
            "optimizer": optimizer.state_dict(),
            "state": {"history": [{"loss": 0.5}]},
        },
    )


def gwosc_strain(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write_strain(path, "H1", np.arange(4096.0), compression="gzip")
    with h5py.File(path, "a") as file:
        file["quality/simple/DQmask"] = np.array([3], np.uint32)
        file["quality/simple/DQShortnames"] = np.array([b"DATA", b"CBC_CAT1"])


def gwpy_strain(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_dataset("H1:STRAIN", data=np.arange(4096.0))
        data.attrs.update({"x0": 1.0, "dx": 1 / 4096, "channel": "H1:STRAIN"})


def text_strain(path: Path) -> None:
    lines = ["# strain for H1", "# 2048 samples per second", "# starting GPS 10 duration 1"]
    path.write_text("\n".join([*lines, *map(str, np.arange(2048.0))]) + "\n")


def frame_cache(path: Path) -> None:
    (path.parent / "file.gwf").touch()
    path.write_text(f"H H1_HOFT_C00 10 8 file://localhost{path.parent}/file.gwf\n" * 3)


def open_and_read(path: Path) -> None:
    """Read all that a search reads of a strain file."""
    recording = open_recordings([f"H1={path}"])["H1"]
    assert all(start < end for start, end in recording.usable_segments())
    recording.content_digests()
    if recording.end - recording.start < 100:  # a damaged start or rate is still a number
        recording.read(recording.start, 100)


FILES = {
    "gwosc.hdf5": (gwosc_strain, open_and_read),
    "gwpy.hdf5": (gwpy_strain, open_and_read),
    "strain.txt.gz": (text_strain, open_and_read),
    "frames.lcf": (frame_cache, lambda path: find_strain_files(str(path), "H1", str(path))),
    "segments.txt": (lambda path: path.write_text("0 10 20 10\n1 30 40 10\n"), read_segments),
    "segments.json": (lambda path: write_json(path, {"active": [[10, 20.5]]}), read_segments),
    "a.pt": (checkpoint, load_checkpoint),
    "a.npy": (lambda path: save_array(path, np.array(["abc", "de"])), load_array),
    "b.npy": (lambda path: save_array(path, np.ones((2, 3, 1), np.float32)), load_array),
    "strain.npy": (write_sample, read_strain),
    "c.f32": (cache_of, lambda path: StrainCache(path).rows_of(["abc"])),
    "a.json": (lambda path: write_json(path, {"a": [1, None, "x"]}), read_json),
}
DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
    st.tuples(st.just("put"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    # Headers, which decide what is made of the rest, lie at the beginning and the end.
    st.tuples(st.just("put"), st.floats(0, 0.02), st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("put"), st.floats(0.98, 1), st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("insert"), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
)


@pytest.mark.parametrize("name", FILES)
@some
@given(damages=st.lists(DAMAGE, min_size=1, max_size=3))
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, name: str, damages: list) -> None:
    write, read = FILES[name]
    whole, path = tmp_path / f"whole_{name}", tmp_path / name
    if not whole.exists():
        write(whole)
    content = whole.read_bytes()
    for kind, place, change in damages:
        at = int(place * len(content))
        rest = {"cut": b"", "put": content[at + len(change) :], "insert": content[at:]}[kind]
        content = content[:at] + change + rest
    path.write_bytes(content)
    _, why = attempt(read, path)
    assert why == "" or name in why
