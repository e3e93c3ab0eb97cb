"""The JSON files of a run: damage is an error that names the file, never a sign of the past."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.prediction_stamp import read_stamp, unfinished_predictions
from experiments.run_records import read_fold_state, read_run_config, read_starts
from experiments.summary import read_history
from runtime.errors import UserError

READERS: dict[str, Callable[[Path], object]] = {
    "fold0.json": lambda folder: read_fold_state(folder / "fold0.json"),
    "config.json": read_run_config,
    "run.json": read_starts,
    "predictions.json": read_stamp,
    "history.csv": lambda folder: read_history(folder / "history.csv"),
}
DAMAGED = {
    "fold0.json": (
        '{"epoch": "3"}',
        '{"history": [1]}',
        '{"loss_by_step": {}}',
        '{"loss_by_step": [1]}',
        '{"loss_by_step": [{"epoch": 1, "before": 0, "steps": [1], "losses": ["a"]}]}',
        '{"loss_by_step": [{"epoch": 1, "before": 0, "steps": [0], "losses": [0.5]}]}',
        '{"loss_by_step": [{"epoch": 1, "before": 0, "steps": [1, 2], "losses": [0.5]}]}',
        '{"loss_by_step": [{"epoch": 1, "steps": [1], "losses": [0.5]}]}',
        '{"trained_from": 5}',
        '{"trained_from": {"samples": "a"}}',
    ),
    "config.json": ("{}", '{"name": 3}', '{"name": "demo", "callbacks": 3}'),
    "run.json": ('{"starts": 3}', '{"starts": [3]}'),
    "predictions.json": (
        "{}",
        '{"views": 3, "folds": {}}',
        '{"views": ["identity"]}',
        '{"views": [3], "folds": {}}',
        '{"views": [], "folds": {"0": 3}}',
        '{"views": [], "weights": {"0": ["fold0.pt"]}}',
    ),
    "history.csv": (),
}
CASES = [
    (name, text)
    for name, texts in DAMAGED.items()
    for text in (*texts, "[]", "3", "null", "{", "\xff", "[" * 100_000)
    if name != "history.csv"
] + [
    ("history.csv", text)
    for text in (
        "fold,epoch\n0,one\n",
        "fold,epoch\n0,1,2\n",
        "fold,epoch\n0\n",
        "a\n1\n",
        "\xff\n1",
    )
]


@pytest.mark.parametrize(("name", "text"), CASES, ids=lambda value: value[:30])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, name: str, text: str) -> None:
    assert not READERS[name](tmp_path)  # there is none
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"remove it|restore it") as error:
        READERS[name](tmp_path)
    assert str(tmp_path / name) in str(error.value)


def test_an_empty_record_of_a_fold_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "fold0.json").write_text("{}")
    assert read_fold_state(tmp_path / "fold0.json") == {}
    assert list(unfinished_predictions(tmp_path)) == [0]


def test_an_early_run_json_is_one_start(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"command": ["train.py"], "seed": 1}')
    assert read_starts(tmp_path) == [{"command": ["train.py"], "seed": 1}]
