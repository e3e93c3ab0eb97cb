"""A study from the command line: stopped, continued, reported, and its best trial run."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from child_processes import start
from command_here import run_main
from report_runs import make
from small_run import SMALL, make_data

import train
from configuration.config_class import ConfigMeta
from tuning import __main__ as tune
from tuning import trials
from tuning.records import STUDY_FILE

pytest.importorskip("optuna")

SPACE = ["lr=1e-4..1e-2:log", "model_params.widths=[(4,8),(8,4)]"]


def arguments(data: Path, results: Path, *extra: str, settings: tuple[str, ...] = ()) -> list[str]:
    tables = [f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    shared = ["--results", str(results), "--set", *SMALL, *tables, *settings]
    return ["--config", "Demo", "--space", *SPACE, *shared, *extra]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("tune") / "input", 40, 8)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with a study of three trials of two epochs."""
    results = tmp_path_factory.mktemp("tune") / "results"
    done = run_main(tune.main, arguments(data, results, "--trials", "3"))
    assert done.returncode == 0, done.stderr
    assert "The study demo has 3 trials (3 complete)" in done.stdout
    return results


def read_study(results: Path, name: str = "demo") -> dict:
    return json.loads((results / "tuning" / name / STUDY_FILE).read_text())


def scores(study: dict) -> list[tuple]:
    return [(t["folder"], t["state"], t["score"], *t["settings"]) for t in study["trials"]]


def test_what_a_study_leaves(finished: Path) -> None:
    study, folder = read_study(finished), finished / "tuning" / "demo"
    assert [trial["number"] for trial in study["trials"]] == [0, 1, 2]
    for trial in study["trials"]:
        run = folder / trial["folder"]
        state = json.loads((run / "fold0.json").read_text())
        # The score is that of the weights that are kept.
        assert state["history"][state["best_epoch"] - 1]["valid_metric"] == trial["score"]
        config = json.loads((run / "config.json").read_text())
        assert f"optimizer_params.lr={config['optimizer_params']['lr']!r}" == trial["settings"][0]
        assert (trial["epochs"], trial["reason"]) == (2, None)
    best = max(trial["score"] for trial in study["trials"])
    assert study["trials"][study["best"]]["score"] == best
    drawn = {path.stem for path in folder.glob("*.png")}
    assert {"history", "curves", "slices", "parallel"} <= drawn
    assert (folder / "study.db").is_file()


@pytest.fixture
def _forget_best_file() -> Iterator[None]:
    before, path = dict(ConfigMeta.registry), list(sys.path)
    yield
    sys.modules.pop("demo_tuned", None)
    sys.path[:] = path
    ConfigMeta.registry.clear()
    ConfigMeta.registry.update(before)


@pytest.mark.usefixtures("_forget_best_file")
def test_the_best_trial_is_an_experiment(finished: Path, tmp_path: Path) -> None:
    """Its fold 0 is trained again to the same score: the settings are those of the trial."""
    study = read_study(finished)
    file = finished / "tuning" / "demo" / "demo_tuned.py"
    line = ["--config", f"{file}:DemoTuned", "--limit_fold", "0", "--results", str(tmp_path)]
    done = run_main(train.main, [*line, "--silent"])
    assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "demo_tuned" / "fold0.json").read_text())
    assert state["best_score"] == study["trials"][study["best"]]["score"]


def test_the_same_command_continues_and_a_killed_trial_is_resumed(
    finished: Path, data: Path, tmp_path: Path, monkeypatch
) -> None:
    original = trials.CurveWatcher.__call__
    calls = []

    def killed_in_the_second_trial(watcher, state):
        calls.append(state.epoch)
        if len(calls) == 4:  # after its second epoch, which no checkpoint has yet
            raise SystemError("killed")  # nothing of the project catches it
        return original(watcher, state)

    line = arguments(data, tmp_path, "--trials", "3")
    with monkeypatch.context() as patch:
        patch.setattr(trials.CurveWatcher, "__call__", killed_in_the_second_trial)
        with pytest.raises(SystemError):
            tune.main(line)
    done = run_main(tune.main, line)
    assert done.returncode == 0, done.stderr
    assert "continues from epoch 2" in done.stdout
    expected = scores(read_study(finished))
    # The third trial has the number 3, as the killed one has number 1 and its successor number 2.
    expected[2] = ("trial0003", *expected[2][1:])
    assert scores(read_study(tmp_path)) == expected
    before = (tmp_path / "tuning" / "demo" / STUDY_FILE).read_text()
    assert run_main(tune.main, line).returncode == 0  # enough trials: nothing is trained
    assert (tmp_path / "tuning" / "demo" / STUDY_FILE).read_text() == before


def test_two_processes_share_a_study_and_one_takes_up_what_the_other_left(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    """Real processes, one storage: the first is killed in its trial, and none is trained twice."""
    results, killed = tmp_path / "results", tmp_path / "killed"
    line = arguments(data, results, "--trials", "3")
    original = trials.CurveWatcher.__call__

    def stuck_after_two_epochs(watcher, state):
        if state.epoch == 2:
            print("stuck", flush=True)
            time.sleep(3600)
        return original(watcher, state)

    def waits_for_the_kill(watcher, state):
        print("waits", flush=True)
        while not killed.exists():
            time.sleep(0.01)
        return original(watcher, state)

    def watching(call: Callable) -> Callable[[], None]:
        return lambda: setattr(trials.CurveWatcher, "__call__", call)  # in the child alone

    first = start(tune.main, line, tmp_path / "first.txt", watching(stuck_after_two_epochs))
    second = start(tune.main, line, tmp_path / "second.txt", watching(waits_for_the_kill))
    try:
        first.wait_for("stuck", seconds=600)
        second.wait_for("waits", seconds=600)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        killed.touch()
        assert first.wait()[0] == -signal.SIGKILL
        code, said = second.wait()
    assert code == 0, said
    assert "continues from epoch 2" in said
    assert "The study demo has 3 trials (3 complete)" in said
    # What was drawn and what it scored is as in one process without a kill.
    shared, alone = (
        {(trial["state"], trial["score"], *trial["settings"]) for trial in read_study(at)["trials"]}
        for at in (results, finished)
    )
    assert shared == alone
    folders = [trial["folder"] for trial in read_study(results)["trials"]]
    there = (path.name for path in (results / "tuning" / "demo").glob("trial*"))
    assert sorted(there) == sorted(folders)


def test_a_signal_saves_the_trial(data: Path, tmp_path: Path, monkeypatch) -> None:
    original = trials.CurveWatcher.__call__

    def signalled(watcher, state):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(watcher, state)

    line = arguments(data, tmp_path, "--trials", "1")
    with monkeypatch.context() as patch:
        patch.setattr(trials.CurveWatcher, "__call__", signalled)
        done = run_main(tune.main, line)
    assert done.returncode == 128 + signal.SIGTERM
    assert "the same command continues the study" in done.stderr
    done = run_main(tune.main, line)
    assert done.returncode == 0, done.stderr
    assert "continues from epoch 2" in done.stdout


def test_a_pruned_trial_ends_early(data: Path, tmp_path: Path, monkeypatch) -> None:
    import optuna

    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda trial: True)
    done = run_main(tune.main, arguments(data, tmp_path, "--trials", "1"))
    assert done.returncode == 0, done.stderr
    (trial,) = read_study(tmp_path)["trials"]
    assert (trial["state"], trial["epochs"]) == ("pruned", 1)
    assert "none to choose from" in done.stdout
    state = json.loads((tmp_path / "tuning" / "demo" / "trial0000" / "fold0.json").read_text())
    assert state["finished"]


def test_trials_that_fail_are_counted_and_end_the_study(data: Path, tmp_path: Path) -> None:
    line = arguments(data, tmp_path, "--no_pruning")
    line[line.index(SPACE[1])] = "model_params.widths=[(4,8,16),(4,8,16,32)]"
    done = run_main(tune.main, line)
    assert done.returncode == 2
    assert "5 trials of the study 'demo' failed one after the other" in done.stderr
    assert [t["state"] for t in read_study(tmp_path)["trials"]] == ["failed"] * 5
    assert "widths" in read_study(tmp_path)["trials"][0]["reason"]


def test_the_report_shows_the_study(finished: Path) -> None:
    """The folder of a study is a results folder, whose runs are the trials."""
    folder = finished / "tuning" / "demo"
    page = make(folder)
    words = page.words()
    assert "3 trials (3 complete)" in words
    images = [a["src"] for tag, a in page.elements if tag == "img"]
    assert len(images) == len(list(folder.glob("*.png")))
    start = "data:image/png;base64,"
    first = base64.b64decode(images[0].removeprefix(start))
    assert first == (folder / "history.png").read_bytes()
    assert np.isclose(max(t["score"] for t in read_study(finished)["trials"]), best_shown(words))


def best_shown(words: str) -> float:
    """Return the first score of the table of trials."""
    after = words.split("settings", 1)[1].split()
    return float(next(word for word in after if word.startswith(("0.", "1."))))
