"""Curves, config and results in wandb's offline files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from small_run import make_data, run_here

from runtime.errors import UserError
from runtime.files import read_json
from tracking.tracked_part import TrackedPart
from tracking.trackers import Trackers

wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")

HISTORY = [{"epoch": n, "valid_loss": 1 / n} for n in (1, 2)]
POINTS = [{"epoch": n / 2, "step": 10 * n, "train_loss": 2 / n} for n in (1, 2, 3, 4)]


def part_of(folder: Path, epochs: int = 0) -> TrackedPart:
    return TrackedPart("demo", "fold0", folder, {"name": "demo", "seed": 7}, epochs)


def assert_holds(file: Path, words: list[bytes]) -> None:
    """See that words come into a file, which a process of wandb writes."""
    deadline = time.monotonic() + 20
    while absent := [word for word in words if word not in file.read_bytes()]:
        assert time.monotonic() < deadline, f"{file} lacks {absent}"
        time.sleep(0.2)


def test_a_resumed_fit_continues_the_same_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    first = Trackers(["wandb"], part_of(tmp_path))
    first.log_history(HISTORY[:1], POINTS[:2])
    first.close(finished=False)
    again = Trackers(["wandb"], part_of(tmp_path, epochs=1))
    again.log_history(HISTORY, POINTS)
    again.log_result({"weights": "a digest"})
    again.close(finished=True)
    run = read_json(tmp_path / "tracking" / "fold0" / "runs.json")["wandb"]
    assert run["epochs"] == 2
    # One file for each start, both of the same run: `wandb sync` joins them.
    files = sorted((tmp_path / "tracking" / "fold0").rglob(f"run-{run['run']}.wandb"))
    assert len(files) == 2
    for file, words in zip(files, ([], [b"a digest"]), strict=True):
        assert_holds(file, [b"valid_loss", b"train_loss_by_step", b"demo/fold0", *words])


def test_steps_ascend_and_each_epoch_has_its_scores(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    trackers = Trackers(["wandb"], part_of(tmp_path))
    sent = []
    handle = trackers.trackers["wandb"].handle
    monkeypatch.setattr(handle, "log", lambda values, step: sent.append((step, values)))
    trackers.log_history(HISTORY, POINTS)
    trackers.close(finished=True)
    assert [step for step, _ in sent] == [1, 1000, 1001, 2000]
    assert [values["epoch"] for _, values in sent] == [0.5, 1, 1.5, 2]
    assert [values["train_loss_by_step"] for _, values in sent] == [2.0, 1.0, 2 / 3, 0.5]
    assert [values.get("valid_loss") for _, values in sent] == [None, 1.0, None, 0.5]


def test_train_tracks_offline_and_a_resumed_fold_goes_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    data, results = make_data(tmp_path / "input", 24, 8), tmp_path / "results"
    line = ("--limit_fold", "0", "--num_workers", "0")
    run_here(data, results, *line, settings=("tracker=wandb", "num_epochs=1"))
    folder = results / "demo" / "tracking" / "fold0"
    before = read_json(folder / "runs.json")["wandb"]
    assert before["epochs"] == 1
    run_here(data, results, *line, "--resume", settings=("tracker=wandb",))
    after = read_json(folder / "runs.json")["wandb"]
    assert after == before | {"epochs": 2}
    files = sorted(folder.rglob(f"run-{before['run']}.wandb"))
    assert len(files) == 2
    weights = read_json(results / "demo" / "fold0.json")["weights"]
    for file, words in zip(files, ([], [weights.encode()]), strict=True):
        assert_holds(file, [b"valid_metric", b"BranchedResNet1d", b"demo/fold0", *words])


def test_without_a_login_the_advice_is_to_track_offline(tmp_path: Path, monkeypatch) -> None:
    def refuses(**options):
        raise wandb.errors.UsageError("api_key not configured (no-tty)")

    monkeypatch.setattr(wandb, "init", refuses)
    with pytest.raises(UserError, match=r"api_key not configured .* WANDB_MODE=offline"):
        Trackers(["wandb"], part_of(tmp_path))
