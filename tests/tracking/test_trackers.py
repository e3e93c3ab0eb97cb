"""Every tracker gets each epoch once, also after a kill, and a distant one may fail."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from runtime.errors import UserError
from runtime.files import read_json
from tracking import trackers as module
from tracking.tracked_part import ALL_FOLDS, TrackedPart, flatten
from tracking.trackers import Trackers, read_tracker_names

HISTORY = [{"epoch": n, "valid_loss": 1 / n, "train_loss": 2 / n} for n in (1, 2, 3)]


def part_of(folder: Path, epochs: int = 0, part: str = "fold0") -> TrackedPart:
    return TrackedPart("demo", part, folder, {"name": "demo", "seed": 1}, epochs)


@pytest.mark.parametrize(
    ("tracker", "expected"),
    [("csv", ("csv",)), (("tensorboard", "csv", "csv"), ("tensorboard", "csv")), ((), ())],
)
def test_one_tracker_or_several(tracker: Any, expected: tuple) -> None:
    assert read_tracker_names(tracker) == expected


def test_an_unknown_tracker_and_a_missing_package_are_refused(monkeypatch) -> None:
    with pytest.raises(UserError, match=r"tracker = 'csvs': .*did you mean 'csv'") as error:
        read_tracker_names(("tensorboard", "csvs"))
    assert "--set tracker=[tensorboard,csv]" in str(error.value)

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("runtime.optional_packages.importlib.import_module", missing)
    with pytest.raises(UserError, match=r"pip install -e '\.\[mlflow\]'"):
        read_tracker_names("mlflow")


POINTS = [{"epoch": n / 2, "step": 10 * n, "train_loss": 2 / n} for n in range(1, 7)]


def curve(folder: Path, key: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(key)]


def test_files_have_every_epoch_once_after_a_resumed_start(tmp_path: Path) -> None:
    first = Trackers(["tensorboard", "csv"], part_of(tmp_path))
    for n in (1, 2):
        first.log_history(HISTORY[:n], POINTS[: 2 * n])
    first.close(finished=False)
    again = Trackers(["tensorboard", "csv"], part_of(tmp_path, epochs=2))
    again.log_history(HISTORY[:2], POINTS[:4])
    again.log_history(HISTORY, POINTS)
    again.log_result({"weights": "abc"})
    again.close(finished=True)
    expected = [(n, pytest.approx(1 / n)) for n in (1, 2, 3)]
    assert curve(tmp_path / "tensorboard" / "fold0", "valid_loss") == expected
    with open(tmp_path / "tracking" / "fold0" / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    by_step = [(10 * n, pytest.approx(2 / n)) for n in range(1, 7)]
    assert curve(tmp_path / "tensorboard" / "fold0", "train_loss_by_step") == by_step
    with open(tmp_path / "tracking" / "fold0" / "train_loss_by_step.csv", newline="") as file:
        points = [(int(row["step"]), float(row["train_loss"])) for row in csv.DictReader(file)]
    assert points == by_step
    assert read_json(tmp_path / "tracking" / "fold0" / "result.json") == {"weights": "abc"}


def test_tensorboard_alone_writes_only_its_own_folder(tmp_path: Path) -> None:
    for part in ("fold0", ALL_FOLDS):
        trackers = Trackers(["tensorboard"], part_of(tmp_path, part=part))
        trackers.log_history(HISTORY)
        trackers.log_result({"weights": "abc"})
        trackers.close(finished=True)
    assert [path.name for path in tmp_path.rglob("*") if path.is_dir()] == ["tensorboard", "fold0"]


def test_tensorboard_begins_with_the_first_epoch(tmp_path: Path) -> None:
    trackers = Trackers(["tensorboard"], part_of(tmp_path))
    trackers.log_history([])
    assert not (tmp_path / "tensorboard").exists()
    trackers.log_history(HISTORY)
    trackers.close(finished=True)
    assert len(list((tmp_path / "tensorboard" / "fold0").iterdir())) == 1


class Distant:
    """A tracker on a server that is not always there; it keeps what it was sent."""

    sent: list = []  # noqa: RUF012 - one server for all of them
    begun: list = []  # noqa: RUF012
    fails = False

    def __init__(self, part: TrackedPart, run: str | None = None) -> None:
        self.run = run or "run 1"
        Distant.begun.append(run)

    def log_epochs(self, history: list, first: int, points: list = ()) -> None:
        if Distant.fails:
            raise ConnectionError("nobody answers")
        Distant.sent += [scores["epoch"] for scores in history[first:]]

    def log_result(self, figures: dict, files: list) -> None:
        Distant.sent += [*figures, *(file.name for file in files)]

    def close(self, finished: bool) -> None:
        Distant.sent.append(f"closed {finished}")


def test_a_server_gets_what_it_missed_and_the_run_is_continued(
    tmp_path: Path, monkeypatch, caplog
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "find_class", lambda name: Distant)
    Distant.sent, Distant.begun, Distant.fails = [], [], False
    first = Trackers(["mlflow"], part_of(tmp_path))
    first.log_history(HISTORY[:1])
    Distant.fails = True
    first.log_history(HISTORY[:2])  # and here the process is killed
    assert "mlflow did not take the newest scores (ConnectionError: nobody answers)" in caplog.text
    Distant.fails = False
    again = Trackers(["mlflow"], part_of(tmp_path, epochs=2))
    again.log_history(HISTORY[:2])
    again.log_history(HISTORY)
    (tmp_path / "summary.png").touch()
    again.log_result({"weights": "abc"}, [tmp_path / "summary.png", tmp_path / "absent.png"])
    again.close(finished=True)
    assert Distant.begun == [None, "run 1"]
    assert Distant.sent == [1, 2, 3, "weights", "summary.png", "closed True"]
    assert "demo/fold0 continues the mlflow run run 1" in caplog.text


@pytest.mark.parametrize("text", ["[]", '{"mlflow": {"run": 3, "epochs": 1}}', '{"mlflow": 1}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tracking" / "fold0" / "runs.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=r"runs\.json .*remove it"):
        Trackers(["csv"], part_of(tmp_path))


def test_nested_settings_have_paths() -> None:
    plain = {"a": {"b": 1, "c": [2, {"d": 3}]}, "e": [], "f": None}
    assert dict(flatten(plain)) == {"a.b": 1, "a.c.0": 2, "a.c.1.d": 3, "e": [], "f": None}
