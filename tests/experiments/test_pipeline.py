"""The pipeline: its plan, its graph, and a small one that is killed and goes on."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from paths import ROOT
from small_run import SMALL, make_data
from stack_runs import execute_notebook

import configs
from configuration.rules import ConfigMeta
from experiments.fold_record import read_fold
from experiments.pipeline import make_plan, with_sources
from runtime.errors import UserError

needs_snakemake = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None, reason="needs pip install -e '.[pipeline]'"
)


def test_the_published_stack_is_40_runs() -> None:
    plan = make_plan()
    assert len(plan.runs) == 40
    assert len(plan.members) == 20
    assert plan.members[0] == "pseudo_12"
    assert plan.members[-1] == "pseudo_06"
    names = list(plan.runs)
    for run in plan.members:
        assert names.index(plan.label_source(run)) < names.index(run)
    assert sum(plan.wants_views(run) for run in plan.runs) == 13
    assert sum(len(plan.folds(run)) for run in plan.runs) == 200


def test_a_subset_brings_its_sources_and_does_not_stack_them() -> None:
    plan = make_plan("PseudoDemoSpec, Demo", "elsewhere", "cv=3 num_epochs=2", "--no_pretrained")
    assert list(plan.runs) == ["demo_spec", "pseudo_demo_spec", "demo"]
    assert plan.members == ("pseudo_demo_spec", "demo")
    assert plan.folds("demo") == [0, 1, 2]
    assert not plan.wants_views("demo_spec")
    assert plan.train("pseudo_demo_spec", 2) == (
        "python train_pseudo.py --config PseudoDemoSpec --results elsewhere --limit_fold 2 "
        "--resume --gpu free --no_pretrained --set cv=3 num_epochs=2"
    )
    assert plan.predict("demo", views=True) == (
        "python train.py --config Demo --results elsewhere --inference --resume --gpu free --tta "
        "--set cv=3 num_epochs=2"
    )
    assert plan.stack().endswith("--results elsewhere --experiments pseudo_demo_spec demo")


def test_words_that_a_shell_would_split_are_quoted() -> None:
    plan = make_plan("Demo", "my results", "'views=[\"flip\"]' 'model_params.widths=(4, 8)'")
    assert "--results 'my results'" in plan.train("demo", 0)
    assert "'model_params.widths=(4, 8)'" in plan.train("demo", 0)


def test_labels_of_labels_are_a_chain(monkeypatch) -> None:
    monkeypatch.setattr(ConfigMeta, "registry", dict(ConfigMeta.registry))
    again = {"name": "again", "pseudo_labels": configs.labels_of(configs.PseudoDemo)}
    config = ConfigMeta("Again", (configs.PseudoDemo,), again)
    assert [c.name for c in with_sources(config)] == ["demo", "pseudo_demo", "again"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experiments": "Dem"}, "did you mean 'Demo'"),
        ({"experiments": "Demo,Demo"}, "one is named twice"),
        ({"experiments": "Demo", "settings": "epochs=3"}, "no setting 'epochs'"),
        ({"experiments": "Demo", "settings": "name=other"}, "finds its runs by their names"),
        ({"experiments": "Demo", "settings": "name='other"}, 'settings = "name=\'other": no clos'),
        ({"experiments": "Demo", "options": "--weights 'a"}, 'options = "--weights \'a": no clos'),
    ],
)
def test_bad_plans(arguments: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        make_plan(**arguments)
    assert message in str(error.value)


def test_sources_that_are_no_experiments(monkeypatch) -> None:
    monkeypatch.setattr(ConfigMeta, "registry", dict(ConfigMeta.registry))
    part = configs.labels_of(configs.Demo)
    other = ConfigMeta("Other", (configs.Demo,), {"name": "other"}, register=False)
    lost = ConfigMeta("Lost", (configs.Demo,), {"name": "lost", "pseudo_labels": labels(other)})
    with pytest.raises(UserError, match="no experiment has that name"):
        with_sources(lost)
    own = ConfigMeta("Own", (configs.Demo,), {"name": "own", "pseudo_labels": part})
    circle = ConfigMeta("Own", (configs.Demo,), {"name": "own", "pseudo_labels": labels(own)})
    with pytest.raises(UserError, match="come from itself"):
        with_sources(circle)


def test_weights_of_another_run_come_first() -> None:
    assert [c.name for c in with_sources(configs.Wave03)] == ["wave_01", "wave_02", "wave_03"]
    plan = make_plan("Wave02,Wave03")
    assert list(plan.runs) == ["wave_01", "wave_02", "wave_03"]
    assert plan.members == ("wave_02", "wave_03")
    assert [plan.weight_source(run) for run in plan.runs] == [None, "wave_01", "wave_02"]


def labels(config: ConfigMeta):
    return configs.labels_of(config)


# --- Snakemake -------------------------------------------------------------------------------


def snakemake(*arguments: str, code: int = 0, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


def job_counts(output: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)}


@needs_snakemake
@pytest.mark.parametrize("profile", ["default", "slurm", "kubernetes"])
def test_graph_of_all_40_runs(profile: str) -> None:
    plugin = {
        "default": "snakemake",
        "slurm": "snakemake_executor_plugin_slurm",
        "kubernetes": "snakemake_executor_plugin_kubernetes",
    }[profile]
    if importlib.util.find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed: pip install -e '.[pipeline]'")
    output = snakemake("-n", "-q", "rules", "--workflow-profile", f"profiles/{profile}", "--nolock")
    counts = job_counts(output)
    assert counts["train"] == 200
    assert counts["predict"] == 40
    assert counts["predict_views"] == 13
    assert counts["stack"] == counts["report"] == 1


@needs_snakemake
def test_an_unknown_experiment_is_one_sentence() -> None:
    output = snakemake("-n", "--nolock", "--config", "experiments=Dem", code=1)
    assert "there is no config 'Dem' (did you mean 'Demo'?)" in output
    assert "Traceback" not in output


def check_a_half_trained_member(
    results: Path, data: Path, settings: list[str], arguments: list[str]
) -> None:
    """A member is trained again by hand and killed in fold 1: no unfinished fold is stacked."""
    line = [sys.executable, str(ROOT / "train.py"), "--config", "Demo", "--results", str(results)]
    line += ["--limit_fold", "1", "--overwrite", "--set", *settings]
    weights = results / "demo" / "fold1.pt"
    before = read_fold(weights).digest
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + 120
    while weights.exists() and weights.with_suffix(".json").exists():  # until they are moved aside
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not read_fold(weights).finished
    assert (results / "demo" / "fold1.done").exists()  # the mark of the earlier training
    (results / "submission.csv").unlink()
    output = snakemake(*arguments)
    assert f"{weights} is not finished: it is trained to its end" in output
    assert read_fold(weights).finished
    assert read_fold(weights).digest == before == weights.with_suffix(".done").read_text().strip()
    assert (results / "submission.csv").exists()
    # The weights came out as before, so that the labels of the child's samples did too.
    assert "pseudo_demo" in (results / "index.html").read_text()
    assert "Nothing to be done" in snakemake(*arguments)


@needs_snakemake
def test_a_killed_pipeline_goes_on_where_it_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path / "input")
    settings = [*SMALL, f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    arguments = [
        "--cores",
        "1",
        "--config",
        "experiments=Demo,PseudoDemo",
        f"results={tmp_path / 'out'}",
        f"settings={' '.join(settings)}",
    ]
    line = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), *arguments]
    process = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT, start_new_session=True
    )
    first = tmp_path / "out" / "demo" / "fold0.done"
    first_or_second = (first, first.with_name("fold1.done"))
    deadline = time.monotonic() + 120
    while not any(path.exists() for path in first_or_second):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Of a job that ended in that very moment snakemake may not know; it is then asked again, and
    # finds its fold trained.
    trained = {
        path.with_suffix(".pt"): path.with_suffix(".pt").stat().st_mtime_ns
        for path in first_or_second
        if path.exists()
    }
    assert trained
    assert not (tmp_path / "out" / "submission.csv").exists()
    snakemake("--unlock", *arguments)
    output = snakemake(*arguments)
    assert trained == {path: path.stat().st_mtime_ns for path in trained}
    assert "24 of 24 test samples join the training with labels of demo" in output
    submission = pd.read_csv(tmp_path / "out" / "submission.csv")
    assert submission["id"].tolist() == pd.read_csv(data / "test.csv")["id"].tolist()
    stack = json.loads((tmp_path / "out" / "stack.json").read_text())
    assert "pseudo_demo" in json.dumps(stack)
    assert "pseudo_demo" in (tmp_path / "out" / "index.html").read_text()
    again = snakemake(*arguments)
    assert "Nothing to be done" in again
    check_a_half_trained_member(tmp_path / "out", data, settings, arguments)
    (tmp_path / "out" / "submission.csv").unlink()
    execute_notebook(tmp_path / "out", monkeypatch)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "submission.csv"), submission)
