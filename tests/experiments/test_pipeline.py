"""The pipeline: its plan, its graph, and Snakemake itself on a small one that is finished."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from child_processes import kill_when, start
from paths import ROOT
from pipeline_runs import contents, lost_results

import configs
import train
from configuration.config_class import ConfigMeta
from experiments.fold_record import read_fold
from experiments.pipeline import Plan, make_plan, with_sources
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


def snakemake_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), *arguments]


def snakemake(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(snakemake_line(*arguments), capture_output=True, text=True, cwd=ROOT)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


def job_counts(output: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)}


def of_plan(plan: Plan, **changed: str) -> list[str]:
    """Return the --config of a small plan."""
    config = {"experiments": "PseudoDemo", "results": plan.results}
    config |= {"settings": " ".join(plan.settings)} | changed
    return ["--cores", "1", "--config", *(f"{key}={value}" for key, value in config.items())]


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


def test_no_result_is_an_output() -> None:
    """Snakemake deletes outputs before a job and when it fails."""
    text = (ROOT / "Snakefile").read_text()
    outputs = re.findall(r"output:\n +(.+)", text)
    assert len(outputs) == 7
    assert all(re.fullmatch(r'f"\{FOLDER\}/[^ ]+\.done",', output) for output in outputs)


@needs_snakemake
def test_a_dry_run_shows_outdated_marks_and_changes_nothing(pipeline: Plan) -> None:
    results = Path(pipeline.results)
    (results / "pseudo_demo" / "fold1.done").write_text("of other weights\n")
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    output = snakemake("-n", "-q", "rules", "--nolock", *of_plan(pipeline))
    assert f"{results / 'pseudo_demo' / 'fold1.done'} marks have changed" in output
    counts = job_counts(output)
    jobs = ("train", "predict", "predict_views", "stack", "report")
    assert [counts[job] for job in jobs] == [1] * 5
    assert before == {path: path.stat().st_mtime_ns for path in results.rglob("*")}


@needs_snakemake
def test_failing_jobs_lose_no_result(pipeline: Plan, tmp_path: Path) -> None:
    """Every job fails at once, as on a machine that lacks memory; only marks are gone."""
    results = Path(pipeline.results)
    for name in ("fold0", "predictions", "predictions_tta"):
        (results / "pseudo_demo" / f"{name}.done").write_text("of others\n")
    (results / "stack.done").write_text("of others\n")
    before = contents(results)
    fails = tmp_path / "fails"
    fails.write_text("#!/bin/sh\nexit 2\n")
    fails.chmod(0o755)
    snakemake("--keep-going", *of_plan(pipeline, python=str(fails)), code=1)
    assert not (results / "pseudo_demo" / "fold0.done").exists()
    after = contents(results)
    assert {name for name in before if name not in after} <= {n for n in before if "done" in n}
    assert lost_results(before, results) == []


def kill_while_it_trains(line: list[str], weights: Path, output: Path) -> None:
    """Start train_pseudo.py with these arguments; kill it as it writes the weights anew."""
    at = functools.partial(kill_when, "os.rename", lambda path: path == str(weights))
    code, said = start(functools.partial(train.main, pseudo=True), line, output, before=at).wait()
    assert code == -signal.SIGKILL, said


@needs_snakemake
def test_a_killed_fold_and_a_killed_pipeline_are_resumed(pipeline: Plan, tmp_path: Path) -> None:
    """A member is trained again by hand and killed: no unfinished fold is stacked.

    The pipeline that trains it to its end is killed as well, and repeated.
    """
    results = Path(pipeline.results)
    arguments = of_plan(pipeline)
    before = contents(results)
    weights = results / "pseudo_demo" / "fold1.pt"
    digest = read_fold(weights).digest
    line = shlex.split(pipeline.train("pseudo_demo", 1).replace("--resume", "--overwrite"))
    kill_while_it_trains(line[2:], weights, tmp_path / "output")
    assert not read_fold(weights).finished
    # As if the mark had not been moved aside with the fold
    weights.with_suffix(".done").write_text(f"{digest}\n")
    started = subprocess.Popen(
        snakemake_line(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while weights.with_suffix(".done").exists():  # until Snakemake starts the fold's job
        assert time.monotonic() < deadline
        assert started.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert lost_results(before, results) == []
    snakemake("--unlock", *arguments)
    output = snakemake(*arguments)
    assert job_counts(output)["train"] == 1
    assert read_fold(weights).finished
    assert read_fold(weights).digest == digest == weights.with_suffix(".done").read_text().strip()
    assert lost_results(before, results) == []
    assert "pseudo_demo" in (results / "index.html").read_text()
    stack = json.loads((results / "stack.json").read_text())
    assert "pseudo_demo" in json.dumps(stack)
    assert "Nothing to be done" in snakemake(*arguments)
    submission = pd.read_csv(results / "submission.csv")
    table = dict(word.split("=", 1) for word in pipeline.settings)["test_path"]
    assert submission["id"].tolist() == pd.read_csv(table)["id"].tolist()
