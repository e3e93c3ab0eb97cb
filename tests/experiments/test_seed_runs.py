"""Runs of several seeds, through the command lines: trained, resumed, averaged, stacked, scored."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_here import run_main
from pipeline_runs import contents, lost_results, run_job
from scipy.special import expit
from small_run import SMALL, make_data, run_here, same_arrays
from small_search import write_small_strain

import detect
import export
import predict
import report
import stacking
from experiments.pipeline import make_plan
from experiments.pipeline_done_files import are_of_other_weights, mark_names, outdated_marks
from experiments.predictions import read_predictions
from experiments.pseudo_labels import Labels
from experiments.seed_runs import mean_logits
from experiments.summary import read_history
from runtime.errors import UserError
from stack.members import label_source

SEEDS = ("seeds=[0,7]", "num_epochs=1")


def test_the_mean_is_that_of_the_probabilities(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(3, 2, 5))
    logits[0, 1, 2] = np.nan
    mean = mean_logits(logits)
    assert mean.shape == (2, 5, 1)
    np.testing.assert_allclose(expit(mean[..., 0]), expit(logits).mean(0), rtol=1e-6)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input", n_train=40, n_test=12)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory) -> Path:
    """Results of Demo with two seeds."""
    results = tmp_path_factory.mktemp("seeds") / "results"
    done = run_here(data, results, settings=SEEDS)
    assert "That is of the mean over 2 seeds; a single one has 0." in done.stdout
    assert "the weights of 4 folds of 2 seeds" in done.stdout
    return results


def test_a_seed_is_the_run_of_it_alone(data: Path, finished: Path, tmp_path: Path) -> None:
    run_here(data, tmp_path, settings=("seed=7", "num_epochs=1"))
    assert same_arrays(tmp_path / "demo", finished / "demo" / "seed7")


def test_the_run_holds_the_mean_and_the_spread(finished: Path) -> None:
    run = finished / "demo"
    mean, *seeds = (read_predictions(folder) for folder in (run, run / "seed0", run / "seed7"))
    for kind in ("out_of_fold", "logits"):
        expected = np.mean([expit(getattr(seed, kind)) for seed in seeds], axis=0)
        np.testing.assert_allclose(expit(getattr(mean, kind)), expected, rtol=1e-5)
    assert not mean.unfinished
    assert not np.array_equal(seeds[0].logits, seeds[1].logits)
    # the submission is the mean over all four networks
    submission = pd.read_csv(run / "submission.csv")["target"]
    every = np.concatenate([expit(seed.logits) for seed in seeds])
    np.testing.assert_allclose(submission, every.mean(0), rtol=1e-5)
    summary = json.loads((run / "summary.json").read_text())
    aucs = [summary["seeds"][seed]["oof_auc"] for seed in ("0", "7")]
    assert summary["oof_auc_of_seeds"]["mean"] == pytest.approx(np.mean(aucs))
    assert summary["oof_auc_of_seeds"]["deviation"] == pytest.approx(np.std(aucs, ddof=1))
    rows = read_history(run / "history.csv")
    assert {(row["seed"], row["fold"]) for row in rows} == {(0, 0), (0, 1), (7, 0), (7, 1)}
    points = read_history(run / "loss_by_step.csv")
    assert {(row["seed"], row["fold"]) for row in points} == {(0, 0), (0, 1), (7, 0), (7, 1)}
    assert json.loads((run / "config.json").read_text())["seeds"] == [0, 7]
    assert json.loads((run / "seed7" / "config.json").read_text())["seed"] == 7


def test_what_reads_runs_reads_the_mean(data: Path, finished: Path, tmp_path: Path) -> None:
    stack = ["--results", finished, "--out", tmp_path, "--method", "mean", "--resamples", "20"]
    done = run_main(stacking.main, [*stack, "--experiments", "demo"])
    assert done.returncode == 0, done.stderr
    done = run_main(report.main, ["--results", finished, "--out", tmp_path / "page.html"])
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "2 seeds" in page
    assert '"seed 7, fold 1"' in page
    out = tmp_path / "scores.csv"
    line = ["--run", finished / "demo", "--data", data / "test.csv", "--out", out]
    assert run_main(predict.main, line).returncode == 0
    scores = pd.read_csv(out)
    names = ["seed0_fold0", "seed0_fold1", "seed7_fold0", "seed7_fold1"]
    assert list(scores)[3:7] == names
    submission = pd.read_csv(finished / "demo" / "submission.csv")["target"]
    np.testing.assert_allclose(scores["probability"], submission, rtol=1e-4)
    one = ["--run", finished / "demo" / "seed7", *line[2:-1], tmp_path / "one.csv"]
    assert run_main(predict.main, one).returncode == 0
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "one.csv")["seed7_fold1"], scores["seed7_fold1"]
    )


def test_an_export_holds_the_networks_of_all_seeds(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished / "demo", tmp_path / "demo")
    table = ["--data", data / "test.csv", "--out"]
    run_main(predict.main, ["--run", run, *table, tmp_path / "run.csv"])
    expected = pd.read_csv(tmp_path / "run.csv")
    done = run_main(export.main, ["--run", run, "--format", "safetensors"])
    assert done.returncode == 0, done.stderr
    weights = [*table, tmp_path / "file.csv", "--weights", run / "demo.safetensors"]
    assert run_main(predict.main, weights).returncode == 0
    found = pd.read_csv(tmp_path / "file.csv")
    for column in ("probability", "spread"):
        np.testing.assert_array_equal(found[column], expected[column])
    if any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")):
        return
    import onnxruntime

    done = run_main(export.main, ["--run", run])
    assert done.returncode == 0, done.stderr
    assert "seed7_fold1 `" in (run / "demo.onnx.md").read_text()
    session = onnxruntime.InferenceSession(str(run / "demo.onnx"))
    paths = [data / name for name in pd.read_csv(data / "test.csv")["path"][:3]]
    strain = np.stack([np.load(path) for path in paths])
    logits, probability = session.run(None, {"strain": strain.astype(np.float32)})
    assert logits.shape == (3, 4)
    np.testing.assert_allclose(probability, expected["probability"][:3], atol=1e-5)


@pytest.mark.skipif(find_spec("h5py") is None, reason="needs pip install -e '.[gwosc]'")
def test_a_search_takes_the_networks_of_all_seeds(finished: Path, tmp_path: Path) -> None:
    strain = write_small_strain(tmp_path)
    line = ["--config", "Demo", "--results", finished, "--out", tmp_path / "out", "--slides", "0"]
    line += ["--strain", *(f"{name}={strain / name}.hdf5" for name in ("H1", "L1"))]
    line += ["--step", "1", "--maps", "0", "--set", *SMALL, *SEEDS]
    done = run_main(detect.main, line)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "detection.json").read_text())
    assert facts["folds"] == 4
    files = [finished / "demo" / name / "fold{}.json" for name in ("seed0", "seed7")]
    expected = [
        json.loads(Path(str(file).format(fold)).read_text())["weights"]
        for file in files
        for fold in (0, 1)
    ]
    assert facts["identity"]["networks"] == expected
    assert len(set(expected)) == 4


def test_resuming_trains_what_is_missing(data: Path, finished: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(finished, results)
    run = results / "demo"
    before = {path: path.read_bytes() for path in run.glob("seed*/fold?.pt")}
    arrays = [np.load(run / f"{name}.npy") for name in ("outoffolds", "predictions")]
    done = run_here(data, results, settings=SEEDS, code=2)
    assert "holds finished work (seed 0, seed 7, predictions)" in done.stderr
    # A fold is lost, and trained again to the same bits; a further seed comes in.
    for path in run.glob("seed7/fold1*"):
        path.unlink()
    run_here(data, results, "--resume", settings=SEEDS)
    assert {path: path.read_bytes() for path in run.glob("seed*/fold?.pt")}.keys() == before.keys()
    for array, name in zip(arrays, ("outoffolds", "predictions"), strict=True):
        np.testing.assert_array_equal(np.load(run / f"{name}.npy"), array)
    run_here(data, results, "--resume", settings=("seeds=[0,7,3]", "num_epochs=1"))
    assert json.loads((run / "summary.json").read_text())["seeds"].keys() == {"0", "7", "3"}
    assert not np.array_equal(np.load(run / "predictions.npy"), arrays[1])
    for words, message in (
        (SEEDS, "a run may be given more seeds, not fewer: --set seeds=[0,7,3]"),
        (("num_epochs=1",), "differs from this run in seeds"),
    ):
        done = run_here(data, results, "--resume", settings=words, code=2)
        assert message in done.stderr


def test_one_seed_and_one_fold_at_a_time(data: Path, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "demo" / "seed0", tmp_path / "demo" / "seed0")
    done = run_here(data, tmp_path, "--limit_seed", "7", settings=SEEDS)
    assert "demo, seed 7: 2 folds" in done.stdout
    assert not (tmp_path / "demo" / "predictions.npy").exists()
    run_here(data, tmp_path, "--inference", settings=SEEDS)
    assert same_arrays(tmp_path / "demo", finished / "demo")
    # A seed is trained anew: the mean is no longer that of what lies there, and says so.
    line = ("--limit_seed", "7", "--limit_fold", "0", "--overwrite")
    run_here(data, tmp_path, *line, settings=SEEDS)
    assert "was predicted again, or trained further" in str(
        read_predictions(tmp_path / "demo").unfinished
    )
    done = run_main(stacking.main, ["--results", tmp_path, "--experiments", "demo"])
    assert done.returncode == 2
    assert "not those of a finished training" in done.stderr
    done = run_here(data, tmp_path, "--limit_seed", "5", settings=SEEDS, code=2)
    assert "--limit_seed 5: Demo has the seeds 0, 7" in done.stderr


def test_overwriting_moves_all_seeds_aside(data: Path, finished: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(finished, results)
    run_here(data, results, "--overwrite", settings=("seeds=[1]", "num_epochs=1", "cv=1"))
    (moved,) = results.glob("demo.*")
    assert (moved / "seed7" / "fold1.pt").is_file()
    assert (moved / "predictions.npy").is_file()
    assert [path.name for path in (results / "demo").glob("seed*")] == ["seed1"]
    done = run_here(data, results, "--dry_run", settings=SEEDS)
    assert "Dry run of demo" in done.stdout


def test_labels_come_from_the_mean(data: Path, finished: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(finished, results)
    labels = {"config": "PseudoDemo", "script": "train_pseudo.py"}
    run_here(data, results, settings=("seeds=[3]", "num_epochs=1"), **labels)
    run = results / "pseudo_demo"
    assert label_source(run) == "demo"
    probability = expit(read_predictions(results / "demo").logits.astype(float))
    figures = json.loads((run / "seed3" / "pseudo_labels.json").read_text())
    assert figures["digest"] == Labels(np.arange(12), probability).digest
    # One seed is trained anew: its mean is not what the labels are taken from any more.
    again = ("--limit_seed", "0", "--limit_fold", "0", "--overwrite")
    run_here(data, results, *again, settings=SEEDS)
    done = run_here(
        data, results, "--resume", settings=("seeds=[3]", "num_epochs=1"), code=2, **labels
    )
    assert "was predicted again, or trained further" in done.stderr


def test_the_pipeline_knows_the_seeds(data: Path, finished: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(finished, results)
    paths = [f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    plan = make_plan("Demo", str(results), " ".join([*SMALL, *paths, *SEEDS]))
    assert plan.networks("demo") == ["seed0/fold0", "seed0/fold1", "seed7/fold0", "seed7/fold1"]
    assert "--limit_seed 7 --limit_fold 1 --resume" in plan.train_network("demo", "seed7/fold1")
    before = contents(results)
    for network in plan.networks("demo"):
        run_job(results, f"demo/{network}.done", plan.train_network("demo", network))
    run_job(results, "demo/predictions.done", plan.predict("demo"))
    assert not lost_results(before, results)
    assert outdated_marks(plan) == {}
    missing = [name for name in mark_names(plan) if not (results / name).is_file()]
    assert missing == ["demo/predictions_tta.done", "stack.done", "report.done"]
    # One network is trained again: the mean is outdated, and its job makes it anew.
    line = ("--limit_seed", "0", "--limit_fold", "1", "--overwrite")
    run_here(data, results, *line, settings=(*SEEDS, "optimizer_params.lr=0.01"))
    assert not (results / "demo" / "seed0" / "fold1.done").exists()
    assert are_of_other_weights(results / "demo")
    assert "demo/predictions.done" in outdated_marks(plan)
    run_job(results, "demo/seed0/fold1.done", plan.train_network("demo", "seed0/fold1"))
    run_job(results, "demo/predictions.done", plan.predict("demo"))
    assert not are_of_other_weights(results / "demo")
    assert outdated_marks(plan) == {}


def test_what_cannot_be_stacked_is_refused_before_the_pipeline_trains() -> None:
    for words in ("cv=1", "cv=1 splitter=HoldOut", "splitter=TimeSplit"):
        with pytest.raises(UserError, match="leaves samples without validation"):
            make_plan("Demo", settings=words)
    with pytest.raises(UserError, match="1 is there twice"):
        make_plan("Demo", settings="seeds=[1,1]")
    plan = make_plan("Wave02", settings="seeds=[4]")
    assert plan.network_to_start_from("wave_02", "seed4/fold1") == "seed4/fold1"
