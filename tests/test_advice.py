"""The advice of error messages works when it is typed, and continues the run that it is about."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from small_run import make_data, run_here

from training.trainer import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input", 48, 12)


def advised_settings(message: str) -> tuple[str, ...]:
    """Return what a message says to type after `--resume --set`, as far as it is settings."""
    typed = re.search(r"--resume --set ((?:[\w.]+=[^\s,]+ ?)+)", message)
    assert typed, message
    return tuple(shlex.split(typed[1]))


def fail_in_the_second_epoch(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the training of fold 1 end with an error, after one epoch; fold 0 is finished then."""
    train_epoch = Trainer.train_epoch

    def failing(trainer: Trainer, loader) -> float:
        if trainer.name == "fold1" and trainer.state.epoch == 1:
            raise error
        return train_epoch(trainer, loader)

    monkeypatch.setattr(Trainer, "train_epoch", failing)


def settings_from(folder: Path, fold: int) -> list[dict]:
    return json.loads((folder / f"fold{fold}.json").read_text())["adjusted"]


@pytest.mark.parametrize("batch_size", [16, 15])
def test_a_full_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    size = (f"batch_size={batch_size}",)
    with monkeypatch.context() as patched:
        fail_in_the_second_epoch(patched, torch.OutOfMemoryError("CUDA out of memory."))
        done = run_here(data, tmp_path, settings=size, code=2)
    before = (tmp_path / "demo" / "fold0.pt").read_bytes()
    run_here(data, tmp_path, "--resume", settings=(*size, *advised_settings(done.stderr)))
    assert (tmp_path / "demo" / "fold0.pt").read_bytes() == before
    first, second = settings_from(tmp_path / "demo", 1)
    assert (first["from_epoch"], second["from_epoch"]) == (1, 2)
    assert second["batch_size"] < batch_size
    assert second["batch_size"] * second["accumulate"] == batch_size


def test_losses_that_stay_nan(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        step = Trainer.train_step

        def nan_step(trainer: Trainer, batch: dict, *arguments, **options) -> None:
            if trainer.name == "fold1" and trainer.state.epoch == 1:
                batch = {**batch, "waveform": batch["waveform"] * torch.nan}
            step(trainer, batch, *arguments, **options)

        patched.setattr(Trainer, "train_step", nan_step)
        done = run_here(data, tmp_path, settings=("max_bad_losses=1",), code=2)
    assert "NaN or infinite 1 times" in done.stderr
    settings = ("max_bad_losses=5", *advised_settings(done.stderr))
    run_here(data, tmp_path, "--resume", settings=settings)
    first, second = settings_from(tmp_path / "demo", 1)
    assert second["from_epoch"] == 2
    assert second["learning_rate"] < first["learning_rate"]
    history = json.loads((tmp_path / "demo" / "fold1.json").read_text())["history"]
    assert history[1]["learning_rate"] < 0.5 * history[0]["learning_rate"]


def test_finished_work_in_the_way(data: Path, tmp_path: Path) -> None:
    run_here(data, tmp_path)
    done = run_here(data, tmp_path, code=2)
    for option in re.findall(r"(--\w+) (?:continues|moves)", done.stderr):
        run_here(data, tmp_path, option)
    assert len(list(tmp_path.glob("demo.*"))) == 1


def test_another_number_of_rows_a_step(data: Path, tmp_path: Path) -> None:
    run_here(data, tmp_path, "--limit_fold", "0")
    done = run_here(data, tmp_path, "--limit_fold", "1", settings=("batch_size=6",), code=2)
    advice = re.search(r"--set (batch_size=\d+) (accumulate=\d+) keeps them", done.stderr)
    run_here(data, tmp_path, "--limit_fold", "1", settings=advice.groups())
    run_here(data, tmp_path, "--inference")


def test_a_fold_of_one_class(data: Path, tmp_path: Path) -> None:
    lines = (data / "train.csv").read_text().splitlines()
    rows = sorted(lines[1:], key=lambda line: line.split(",")[1])
    (data / "sorted.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    table = f"train_path={data / 'sorted.csv'}"
    settings = (table, "splitter=KFold", 'splitter_params={"shuffle": False}')
    done = run_here(data, tmp_path, settings=settings, code=2)
    assert "samples of one class" in done.stderr
    assert not (tmp_path / "demo" / "fold0.pt").exists()
    advice = re.search(r"--set (splitter=\w+)", done.stderr)[1]
    run_here(data, tmp_path, settings=(table, advice, "num_epochs=1"))


def test_a_missing_file(data: Path, tmp_path: Path) -> None:
    run_here(data, tmp_path)
    (tmp_path / "demo" / "fold0.pt").unlink()
    done = run_here(data, tmp_path, "--resume", code=2)
    advice = re.search(r"anew with (--overwrite --limit_fold \d)", done.stderr)[1].split()
    run_here(data, tmp_path, *advice)
    run_here(data, tmp_path, "--resume")


def test_a_run_in_use(data: Path, tmp_path: Path) -> None:
    from runtime.locks import run_lock

    with run_lock(tmp_path / "demo"):
        for arguments in ((), ("--resume",), ("--overwrite",), ("--limit_fold", "0")):
            done = run_here(data, tmp_path, *arguments, code=2)
            assert "is in use by another run" in done.stderr
    with run_lock(tmp_path / "demo", 0):
        done = run_here(data, tmp_path, "--limit_fold", "0", code=2)
        assert "is in use by another run" in done.stderr
        run_here(data, tmp_path, "--limit_fold", "1")
