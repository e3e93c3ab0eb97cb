"""docs/tutorial/your-own-data.md from its first line to its last, with fewer samples."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from code_blocks import read_blocks, shell_commands
from command_here import run_main
from onnx_packages import needs_onnx
from paths import ROOT

import configs  # noqa: F401 - registers the experiments, before a test copies them
from configuration.config_class import ConfigMeta
from experiments.scores import auc_with_error
from training.trainer import Trainer

PAGE = ROOT / "docs" / "tutorial" / "your-own-data.md"
pytestmark = [
    needs_onnx,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("optuna", "mlflow")),
        reason="needs pip install -e '.[tune,mlflow]'",
    ),
]
# What is made smaller, and what of each file it replaces.
SMALLER = {
    "SAMPLES = 500": "SAMPLES = 80",
    "number % 20": "number % 8",
    "cv = 5": "cv = 2",
    "num_epochs = 6": "num_epochs = 2",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder `../my_search` of the page, seen from where its commands are typed."""
    (tmp_path / "checkout").mkdir()
    (tmp_path / "my_search").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setattr(ConfigMeta, "registry", dict(ConfigMeta.registry))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path / "my_search"
    for name in ("mine", "my_search_tuned"):
        sys.modules.pop(name, None)


def run_line(words: list[str], code: int = 0) -> str:
    """Run a command of the page in this process and return what it printed."""
    assert words[0] == "python"
    if words[1] == "-m":
        name, arguments = f"{words[2]}.__main__", words[3:]
    else:
        name, arguments = words[1].removesuffix(".py"), words[2:]
    done = run_main(importlib.import_module(name).main, arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def check_tracked_runs() -> None:
    """Check that the stopped fold was continued in its own run, epoch by epoch."""
    import mlflow

    client = mlflow.MlflowClient()
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = {run.info.run_name: run for run in client.search_runs(experiments)}
    assert {"my_search/fold0", "my_search/fold1"} <= set(runs)
    points = client.get_metric_history(runs["my_search/fold0"].info.run_id, "valid_loss")
    assert [point.step for point in points] == [1, 2]


def test_the_page_from_the_first_line_to_the_last(place: Path, monkeypatch) -> None:
    samples, experiment, *rest = read_blocks(PAGE)
    texts = [samples.body, experiment.body]
    for old, new in SMALLER.items():
        assert sum(old in text for text in texts) == 1
        texts = [text.replace(old, new) for text in texts]
    exec(compile(texts[0], "make_samples.py", "exec"), {})
    (place / "mine.py").write_text(texts[1])
    rest = [block for block in rest if not block.reason]
    assert [block.language for block in rest] == ["sh", "sh", "sh", "sh", "python", "sh"]
    first, resumed, predicted, exported, onnx, tuned = rest

    # 3. The third command is stopped in its first fold, as by Ctrl-C.
    store, show, dry_run, train = shell_commands(first.body)
    assert store[0] == "export"
    # A store of files, as the database of the page takes ten seconds to be made.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (place / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert "night" in run_line(show)
    run_line(dry_run)
    write_record = Trainer.write_record
    with monkeypatch.context() as patch:

        def write_and_stop(trainer: Trainer) -> None:
            write_record(trainer)
            os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(Trainer, "write_record", write_and_stop)
        run_line(train, code=128 + signal.SIGINT)
    (line,) = shell_commands(resumed.body)
    assert "continues from epoch 2" in run_line(line)
    check_tracked_runs()
    run = place / "results" / "my_search"
    # No night is in two folds.
    table = pd.read_csv(place / "train.csv")
    assert table.groupby("night").size().gt(1).all()
    folds = pd.Series(np.load(run / "folds.npy")).groupby(table["night"].to_numpy())
    assert folds.nunique().eq(1).all()
    logits = np.load(run / "outoffolds.npy")[:, 0]
    auc, _ = auc_with_error(table["target"].to_numpy(), logits)  # of three epochs: near chance
    assert 0.2 < auc < 0.99

    # 4. and 5.
    for block in (predicted, exported):
        (line,) = shell_commands(block.body)
        run_line(line)
    assert len(pd.read_csv(place / "scores.csv")) == 8
    alone = f"import sys\nsys.modules['torch'] = None\n{onnx.body}\n"
    done = subprocess.run(
        [sys.executable, "-c", alone], capture_output=True, text=True, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.removeprefix("largest difference:")) < 1e-5

    # 6.
    tune, best, report = shell_commands(tuned.body)
    run_line(tune)
    study = json.loads((place / "results" / "tuning" / "my_search" / "study.json").read_text())
    assert len(study["trials"]) == 4
    run_line(best)
    config = json.loads((place / "results" / "my_search_tuned" / "config.json").read_text())
    drawn = study["trials"][study["best"]]["settings"]
    assert f"criterion.epsilon={config['criterion']['epsilon']!r}" in drawn
    run_line(report)
    page = (place / "results" / "index.html").read_text()
    assert "my_search_tuned" in page
    assert 'id="tuning"' in page
