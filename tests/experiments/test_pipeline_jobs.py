"""A job runs a command line of the plan, adapted where weights have changed, and marks it."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from fold_files import plan_of, save_fold
from pipeline_runs import contents, lost_results, run_job
from small_run import make_data, run_here

import configs
from experiments.pipeline import Plan, make_plan
from experiments.pipeline_done_files import outdated_marks
from experiments.pipeline_jobs import adapt_to_changes, main, parse_command
from runtime.errors import UserError
from runtime.files import write_json


def paths_of(data: Path) -> str:
    return f"train_path={data / 'train.csv'} test_path={data / 'test.csv'}"


def adapted(command: str) -> tuple[str, str]:
    """Return the name of the mark and the command that a job runs."""
    name, words = adapt_to_changes(parse_command(shlex.split(command)[1:]))
    return name, shlex.join(words)


def test_what_a_command_of_the_plan_is_about() -> None:
    plan = make_plan("PseudoDemo", "my results", "cv=3 num_epochs=2", "--weights a.pt")
    job = parse_command(shlex.split(plan.train("pseudo_demo", 2))[1:])
    assert (job.results, job.config, job.fold) == (Path("my results"), "PseudoDemo", 2)
    assert job.settings == ("cv=3", "num_epochs=2")
    job = parse_command(shlex.split(plan.predict("demo", views=True))[1:])
    assert (job.fold, job.views) == (None, True)
    assert adapted(plan.stack())[0] == "stack.done"
    assert adapted(plan.report())[0] == "report.done"
    with pytest.raises(UserError, match=r"detect\.py: a job of the pipeline runs"):
        parse_command(["detect.py", "--results", "results"])


def test_a_child_of_other_weights_is_trained_anew(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "Wave01", "Wave02")
    first = save_fold(tmp_path / "wave_01", seed=1)
    save_fold(tmp_path / "wave_02", seed=2, start=first)
    name, command = adapted(plan.train("wave_02", 0))
    assert name == "wave_02/fold0.done"
    assert command == shlex.join(shlex.split(plan.train("wave_02", 0))[1:])
    save_fold(tmp_path / "wave_01", seed=4)
    assert "--limit_fold 0 --overwrite" in adapted(plan.train("wave_02", 0))[1]
    assert "--limit_fold 0 --resume" in adapted(plan.train("wave_01", 0))[1]


def test_predictions_of_other_weights_are_made_again(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "Demo")
    digest = save_fold(tmp_path / "demo", seed=1)
    stamp = {"views": [], "folds": {"0": {"weights": digest, "own": True}}}
    write_json(tmp_path / "demo" / "predictions.json", stamp)
    assert "--inference --resume" in adapted(plan.predict("demo"))[1]
    save_fold(tmp_path / "demo", seed=2)
    name, command = adapted(plan.predict("demo", views=True))
    assert name == "demo/predictions_tta.done"
    assert "--inference --overwrite --gpu free --tta" in command


def test_jobs_of_a_finished_pipeline_change_marks_only(pipeline: Plan) -> None:
    """As after an update of the pipeline, which knows nothing of the marks."""
    results = Path(pipeline.results)
    before = contents(results)
    run_job(results, "demo/fold0.done", pipeline.train("demo", 0))
    run_job(results, "demo/predictions.done", pipeline.predict("demo"))
    run_job(results, "pseudo_demo/fold1.done", pipeline.train("pseudo_demo", 1))
    run_job(results, "stack.done", pipeline.stack())
    assert lost_results(before, results) == []
    after = contents(results)
    assert after.keys() == before.keys()  # nothing was moved aside
    marks = [name for name in before if name.endswith(".done") and name != "stack.done"]
    assert {name: after[name] for name in marks} == {name: before[name] for name in marks}
    assert list(outdated_marks(pipeline)) == []


def test_a_refused_job_leaves_no_mark_and_all_results(pipeline: Plan) -> None:
    results = Path(pipeline.results)
    before = contents(results)
    command = pipeline.train("demo", 0) + " seed=9"
    with pytest.raises(SystemExit) as end:
        run_job(results, "demo/fold0.done", command)
    assert end.value.code == 2
    assert not (results / "demo" / "fold0.done").exists()
    assert lost_results(before, results) == []


def test_a_source_that_was_retrained_has_its_child_trained_anew(
    pipeline: Plan, tmp_path: Path
) -> None:
    """Other strain in the source: other weights, other predictions, other labels."""
    results = Path(pipeline.results)
    before = contents(results)
    other = make_data(tmp_path / "other", 40, 10, seed=0)
    for split in ("train", "test"):  # the same ids, and louder signals
        for path in other.glob(f"{split}*.npy"):
            np.save(path, np.load(path) * 1.5)
    run_here(other, results, "--overwrite", settings=("num_epochs=1",))
    # By hand, so that the mark of the predictions is moved aside or outdated.
    run_job(results, "demo/predictions.done", f"{pipeline.predict('demo')} {paths_of(other)}")
    run_job(results, "pseudo_demo/fold0.done", pipeline.train("pseudo_demo", 0))
    run_job(results, "pseudo_demo/fold1.done", pipeline.train("pseudo_demo", 1))
    run_job(results, "pseudo_demo/predictions.done", pipeline.predict("pseudo_demo"))
    assert lost_results(before, results) == []
    moved = [path.name for path in results.iterdir() if path.name.startswith("pseudo_demo.")]
    assert len(moved) == 1
    names = {path.name for path in (results / moved[0]).iterdir()}
    assert {"fold0.pt", "fold1.pt", "predictions.npy", "predictions_tta.npy"} <= names


def test_bad_words_are_one_sentence() -> None:
    with pytest.raises(UserError, match="there is no config 'Dem'"):
        main(["configs", "mark", "python", "train.py", "--config", "Dem", "--results", "r"])
    assert configs.Demo.name == "demo"
