"""Other targets than the competition's through the command lines: train, resume, infer, predict."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_run
from command_here import run_main
from onnx_packages import needs_onnx
from paths import ROOT
from scipy.special import expit, softmax

import export
import predict
import stacking
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.npy_files import load_array
from experiments.objectives import check_fits
from experiments.predictions import read_predictions
from experiments.targets import outputs_of
from predict import load_run
from runtime.errors import UserError

KINDS = ("noise", "bbh", "glitch")
LESS = "callbacks.0.maximize=false"
SETTINGS = {
    "classes": (
        "targets=ClassTarget",
        f"targets.names=[{','.join(KINDS)}]",
        "targets.column=kind",
        "targets.signal_class=bbh",
        "criterion=CrossEntropyLoss",
        "criterion.weights=[1,2,1]",
        "eval_metric=ClassLogLoss",
        "monitor_metrics+=Accuracy",
        "monitor_metrics+=AUC",
        LESS,
    ),
    "labels": (
        "targets=LabelTarget",
        "targets.names=[signal,glitch]",
        "criterion.pos_weight=[1.5,2]",
        "eval_metric=MeanAUC",
    ),
    "numbers": (
        "targets=RegressionTarget",
        "targets.names=[mass]",
        "targets.log=true",
        "targets.center=3.4",
        "targets.scale=0.5",
        "criterion=SmoothL1Loss",
        "eval_metric=MeanAbsoluteError",
        LESS,
    ),
    "soft": ("targets.learn_from=teacher", "monitor_metrics+=LogLoss"),
    "sides": ("side_targets=[merger_time,chirp_mass,network_snr]", "transforms.train.3.p=0.0"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of `small_run` with columns for every target, and parameters.csv of its signals."""
    folder = small_run.make_data(tmp_path_factory.mktemp("targets") / "input", 36, 12)
    rng = np.random.default_rng(1)
    table = pd.read_csv(folder / "train.csv")
    signal, number = table["target"].to_numpy(), np.arange(len(table))
    table["kind"] = np.where(signal == 1, "bbh", np.where(number % 4 < 2, "noise", "glitch"))
    table["signal"], table["glitch"] = signal, number % 3 % 2
    table["mass"] = rng.uniform(10, 60, len(table)).round(2)
    table["teacher"] = (0.8 * signal + 0.1).round(2)
    table.to_csv(folder / "train.csv", index=False)
    injected = table.loc[signal == 1, ["id"]].assign(
        merger_time=1.6, mass_1=30.0, mass_2=20.0, network_snr=rng.uniform(4, 20, signal.sum())
    )
    injected.to_csv(folder / "parameters.csv", index=False)
    # The truth of the test samples, for all targets but the binary one, whose file is there.
    truth = pd.read_csv(folder / "test_labels.csv")
    truth["kind"] = np.where(truth["target"] == 1, "bbh", "noise")
    glitch = np.arange(len(truth)) % 3 % 2
    truth.assign(signal=truth["target"], glitch=glitch, mass=30.0).to_csv(
        folder / "test_labels.csv", index=False
    )
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Return the run directory of a target, trained once: begun, resumed and predicted."""
    results, done = tmp_path_factory.mktemp("results"), {}

    def train(kind: str) -> Path:
        if kind not in done:
            settings = (f"name={kind}", *SETTINGS[kind])
            quiet = ("--num_workers", "0", "--silent")
            first = (*settings, "num_epochs=1")
            small_run.run_here(data, results, "--limit_fold", "0", *quiet, settings=first)
            out = small_run.run_here(data, results, "--resume", *quiet, settings=settings)
            done[kind] = results / kind, out.stdout
        return done[kind][0]

    train.printed = lambda kind: done[kind][1]
    return train


def scores_of(run: Path, data: Path, out: Path) -> pd.DataFrame:
    """Return what predict.py writes of the test samples, in the order of the run's arrays."""
    names = sorted(map(str, data.glob("test*.npy")))
    assert predict.main(["--run", str(run), "--data", *names, "--out", str(out)]) == 0
    return pd.read_csv(out).set_index("id").loc[load_array(run / "ids_test.npy")]


WIDTHS = {"classes": 3, "labels": 2, "numbers": 1, "soft": 1, "sides": 4}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_run_of_each_target(kind: str, trained, data: Path, tmp_path: Path) -> None:
    """Trained, resumed, predicted; predict.py gives what the run has of the same samples."""
    run, width = trained(kind), WIDTHS[kind]
    out_of_fold, logits = (load_array(run / f"{x}.npy") for x in ("outoffolds", "predictions"))
    assert out_of_fold.shape == (36, width)
    assert logits.shape == (2, 12, width)
    assert np.isfinite(out_of_fold).all()
    history = pd.read_csv(run / "history.csv")
    assert history.groupby("fold")["epoch"].max().tolist() == [2, 2]
    assert history["valid_metric"].notna().all()
    assert (run / "summary.png").stat().st_size > 10_000
    summary = json.loads((run / "summary.json").read_text())
    if kind in ("soft", "sides"):
        assert {"oof_auc", "test_auc"} <= set(summary)
    else:
        assert {"oof_score", "test_score", "metric"} <= set(summary)
        assert f"Out-of-fold {summary['metric'].replace('_', ' ')}" in trained.printed(kind)
    # inference repeats what the training left, to the last bit
    before = {path.name: path.read_bytes() for path in run.glob("*.npy")}
    quiet = ("--num_workers", "0", "--silent")
    settings = (f"name={kind}", *SETTINGS[kind])
    small_run.run_here(data, run.parent, "--inference", "--overwrite", *quiet, settings=settings)
    assert before == {path.name: path.read_bytes() for path in run.glob("*.npy")}
    # predict.py: the same networks on other batches
    found = scores_of(run, data, tmp_path / "scores.csv")
    of_folds = expit(logits.astype(np.float64))
    if kind == "classes":
        of_folds = softmax(logits.astype(np.float64), -1)
        names = np.array(KINDS)[of_folds.mean(0).argmax(1)]
        assert found["class"].tolist() == names.tolist()
        columns = list(KINDS)
    elif kind == "numbers":
        of_folds, columns = np.exp(3.4 + 0.5 * logits.astype(np.float64)), ["mass"]
    else:
        columns = {"labels": ["signal", "glitch"]}.get(kind, ["probability"])
    for column, name in enumerate(columns):
        np.testing.assert_allclose(found[name], of_folds[..., column].mean(0), rtol=1e-4)
    submitted = pd.read_csv(run / "submission.csv").set_index("id").loc[found.index]
    if kind not in ("soft", "sides"):
        assert list(submitted) == columns
        np.testing.assert_allclose(submitted[columns], found[columns], rtol=1e-4)


def test_side_targets_are_reported(trained, data: Path, tmp_path: Path) -> None:
    run = trained("sides")
    found = scores_of(run, data, tmp_path / "scores.csv")
    logits = load_array(run / "predictions.npy").astype(np.float64)
    np.testing.assert_allclose(
        found["merger_time"], (1.65 + 0.075 * logits[..., 1]).mean(0), rtol=1e-4
    )
    snr = np.exp(2.1 + 0.5 * logits[..., 3])
    np.testing.assert_allclose(found["network_snr"], snr.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found["network_snr_spread"], snr.std(0), rtol=1e-3, atol=1e-4)
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["side_targets"]) == {"merger_time", "chirp_mass", "network_snr"}
    assert summary["side_targets"]["merger_time"]["samples"] == 18
    assert "Median error of merger_time" in trained.printed("sides")
    history = pd.read_csv(run / "history.csv")
    assert history["valid_merger_time_error"].notna().all()
    # from Python
    strain = np.stack([np.load(path) for path in sorted(data.glob("test*.npy"))[:2]])
    scores = load_run(run).score(strain)
    assert set(scores.values) == {"probability", "merger_time", "chirp_mass", "network_snr"}
    assert scores.probability.shape == (2,)


def test_runs_that_know_a_signal_serve_the_stack(trained, data: Path, tmp_path: Path) -> None:
    """By their first logit, or the class that is said to be a signal; others are refused."""
    sides, classes = trained("sides"), trained("classes")
    first = read_predictions(sides)
    np.testing.assert_array_equal(first.logits, load_array(sides / "predictions.npy")[..., 0])
    of_class = softmax(load_array(classes / "predictions.npy").astype(np.float64), -1)[..., 1]
    np.testing.assert_allclose(expit(read_predictions(classes).logits), of_class, rtol=1e-5)
    for kind in ("labels", "numbers"):
        run = trained(kind)
        words = ["--results", run.parent, "--experiments", kind]
        ended = run_main(stacking.main, words)
        assert ended.returncode == 2
        assert "none of them is said to be a signal" in ended.stderr


@needs_onnx
@pytest.mark.parametrize("kind", ["sides", "classes", "numbers"])
def test_graphs_return_each_output(kind: str, trained, data: Path, tmp_path: Path) -> None:
    """Logits, softmax and numbers in the graph are those of the run; the file names them."""
    import onnxruntime

    run = shutil.copytree(trained(kind), tmp_path / kind)
    ended = run_main(export.main, ["--run", run])
    assert ended.returncode == 0, ended.stderr
    session = onnxruntime.InferenceSession(str(run / f"{kind}.onnx"))
    strain = np.stack([np.load(path) for path in sorted(data.glob("test*.npy"))[:3]])
    strain = strain.astype(np.float32)
    # As on the page docs/how-to/export-a-run.md.
    names = json.loads(session.get_modelmeta().custom_metadata_map["outputs"])
    logits, values, *probability = session.run(None, {"strain": strain})
    scores = load_run(run).score(strain)
    assert logits.shape == (3, 2, WIDTHS[kind])
    np.testing.assert_allclose(np.moveaxis(logits, 0, 1), scores.logits, atol=1e-5)
    assert dict(zip(names, values[0], strict=True)).keys() == scores.values.keys()
    for column, name in zip(values.T, names, strict=True):
        np.testing.assert_allclose(column, scores.values[name], rtol=1e-4, atol=1e-6)
    assert len(probability) == (kind != "numbers")
    for found in probability:
        np.testing.assert_allclose(found, scores.probability, atol=1e-5)
    card = (run / f"{kind}.onnx.md").read_text()
    assert f"in the order {', '.join(f'`{name}`' for name in names)}" in card


def test_a_target_that_the_config_does_not_expect(data: Path, tmp_path: Path) -> None:
    other = shutil.copytree(data, tmp_path / "input")
    table = pd.read_csv(other / "train.csv")
    table["target"] = table["target"].astype(float)
    table.loc[3, "target"] = 0.4
    table.to_csv(other / "train.csv", index=False)
    ended = small_run.run_here(other, tmp_path / "results", code=2)
    assert "train.csv, row 5: the target of" in ended.stderr
    assert "is 0.4, expected 0 or 1" in ended.stderr
    ended = small_run.run_here(
        data, tmp_path / "results", settings=("targets.column=kind",), code=2
    )
    assert "row 2: the kind" in ended.stderr
    ended = small_run.run_here(
        data, tmp_path / "results", settings=("targets.column=none_such",), code=2
    )
    assert "has no column 'none_such'" in ended.stderr
    assert not (tmp_path / "results").exists()


def test_other_targets_cannot_be_resumed_from(trained, data: Path) -> None:
    run = trained("sides")
    settings = ("name=sides", "side_targets=[chirp_mass]", "transforms.train.3.p=0.0")
    ended = small_run.run_here(data, run.parent, "--resume", settings=settings, code=2)
    assert "side_targets" in ended.stderr


def test_a_dry_run_invents_what_a_target_needs(tmp_path: Path) -> None:
    missing = ("train_path=none/train.csv", "test_path=none/test.csv", "cv=5")
    settings = (*SETTINGS["classes"], *missing)
    small_run.run_here(tmp_path, tmp_path, "--dry_run", settings=settings)
    table = pd.read_csv(tmp_path / "dry_run" / "invented_noise" / "train.csv")
    assert set(table["kind"]) == set(KINDS)


def test_a_predictor_without_a_signal_returns_its_values(trained, data: Path) -> None:
    strain = np.stack([np.load(path) for path in sorted(data.glob("test*.npy"))[:3]])
    predictor = load_run(trained("numbers"))
    assert predictor(strain).shape == (3, 1)
    with pytest.raises(UserError, match="predicts mass, and none of them"):
        _ = predictor.score(strain).probability


def test_the_settings_of_the_page_fit_together() -> None:
    """Targets, losses, metrics and callbacks of every command of docs/how-to/targets.md."""
    text = (ROOT / "docs" / "how-to" / "targets.md").read_text()
    lines = re.findall(r"^python train\.py --config (\w+) --set (.*)$", text, re.MULTILINE)
    assert len(lines) == 5
    for name, settings in lines:
        config = override(load_config(name), settings.split())
        check_fits(config, outputs_of(config))
