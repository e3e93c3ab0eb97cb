"""The command line of an experiment, run for real on small data."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from child_processes import start
from command_here import run_main
from paths import ROOT
from small_run import SMALL, command, make_data, same_arrays
from small_run import run_here as run

import train
from runtime.errors import UserError


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("results")
    done = run(data, results)
    (results / "stdout.txt").write_text(done.stdout)
    return results


def test_a_full_run_leaves_what_it_promises(trained: Path, data: Path) -> None:
    folder = trained / "demo"
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "run.json",
        "fold0.pt",
        "fold1.pt",
        "history.csv",
        "outoffolds.npy",
        "predictions.npy",
        "ids_train.npy",
        "ids_test.npy",
        "folds.npy",
        "submission.csv",
        "summary.png",
        "summary.json",
        "predictions.json",
        "tensorboard",
    } <= names
    out_of_fold, predictions = (
        np.load(folder / f"{name}.npy") for name in ("outoffolds", "predictions")
    )
    assert out_of_fold.shape == (60, 1)
    assert predictions.shape == (2, 24, 1)
    assert out_of_fold.dtype == predictions.dtype == np.float32
    assert np.isfinite(out_of_fold).all()
    assert np.isfinite(predictions).all()
    ids = np.load(folder / "ids_test.npy")
    submission = pd.read_csv(folder / "submission.csv")
    assert list(submission.columns) == ["id", "target"]
    assert (submission["id"] == ids).all()
    mean = (1 / (1 + np.exp(-predictions[..., 0]))).mean(0)
    np.testing.assert_allclose(submission["target"], mean, rtol=1e-5)
    with open(folder / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["fold"], row["epoch"]) for row in rows] == [
        ("0", "1"),
        ("0", "2"),
        ("1", "1"),
        ("1", "2"),
    ]
    config = json.loads((folder / "config.json").read_text())
    assert config["class"] == "Demo"
    assert config["num_epochs"] == 2
    (provenance,) = json.loads((folder / "run.json").read_text())["starts"]
    assert {"command", "seed", "versions", "git_revision", "device"} <= set(provenance)
    assert (folder / "summary.png").read_bytes()[:4] == b"\x89PNG"


def test_it_says_what_came_of_it(trained: Path) -> None:
    result = json.loads((trained / "demo" / "summary.json").read_text())
    text = (trained / "stdout.txt").read_text()
    last = text.strip().splitlines()[-1]
    assert f"Out-of-fold AUC {result['oof_auc']:.4f} ± {result['oof_auc_error']:.4f}" in last
    assert f"Test AUC {result['test_auc']:.4f}" in last
    assert "submission.csv" in last
    assert "\r" not in text  # no bar where nobody watches
    assert "fold0 epoch 2/2" in text
    assert "left" in text


def test_out_of_fold_rows_come_from_the_fold_that_never_saw_them(trained: Path, data: Path) -> None:
    """Predict each fold's validation rows anew with that fold's weights alone."""
    import torch
    from sklearn.model_selection import StratifiedKFold

    import configs
    from configuration.overrides import override
    from experiments.building import build_model, build_transforms, observation_of
    from training.checkpoints import load_model

    config = override(configs.Demo, SMALL)
    train = pd.read_csv(data / "train.csv")
    stored = np.load(trained / "demo" / "outoffolds.npy")
    splitter = StratifiedKFold(2, shuffle=True, random_state=2021)
    transform = build_transforms(config.transforms["test"], observation_of(config))
    for fold, (_, rows) in enumerate(splitter.split(train["id"], train["target"])):
        model = build_model(config, pretrained=False).eval()
        load_model(model, trained / "demo" / f"fold{fold}.pt")
        strain = np.stack([np.load(data / path) for path in train["path"].iloc[rows]])
        with torch.inference_mode():
            logits = model(transform(torch.tensor(strain, dtype=torch.float32)))
        np.testing.assert_allclose(stored[rows], logits.numpy(), rtol=1e-4, atol=1e-5)


def test_targets_that_contradict_the_injections_are_told(tmp_path: Path) -> None:
    data = make_data(tmp_path / "input", n_train=20, n_test=4)
    table = pd.read_csv(data / "train.csv")
    signals = table[table["target"] == 1]
    signals[["id"]].assign(network_snr=9.5).to_csv(data / "parameters.csv", index=False)
    done = run(data, tmp_path / "results", "--dry_run")
    assert "targets contradict" not in done.stdout + done.stderr
    table["target"] = np.roll(table["target"], 1)
    table.to_csv(data / "train.csv", index=False)
    wrong = int((table["id"].isin(signals["id"]) != (table["target"] == 1)).sum())
    done = run(data, tmp_path / "results", "--dry_run")
    warning = f"{wrong} of 20 targets contradict {data / 'parameters.csv'}"
    # Before it trains, and after that beside the scores.
    assert (done.stdout + done.stderr).count(warning) == 2


def test_again_is_bit_identical_and_a_single_fold_equals_its_part(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    done = run(data, tmp_path, "--limit_fold", "1", "--debug")
    assert " | memory " in done.stdout
    assert "Fold 1 of demo is trained" in done.stdout
    assert "fold1.json and fold1.png lie in" in done.stdout
    assert (tmp_path / "demo" / "fold1.png").stat().st_size > 10_000
    assert not (tmp_path / "demo" / "outoffolds.npy").exists()
    run(data, tmp_path, "--limit_fold", "0")
    run(data, tmp_path, "--inference")
    assert same_arrays(tmp_path / "demo", trained / "demo")


def test_resume_of_a_finished_run_does_nothing(trained: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (trained / "demo").glob("*.pt")}
    arrays = (trained / "demo" / "predictions.npy").stat().st_mtime_ns
    done = run(data, trained, "--resume")
    assert "fold 0: finished before, nothing to do" in done.stdout
    assert "up to date" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (trained / "demo").glob("*.pt")}
    assert arrays == (trained / "demo" / "predictions.npy").stat().st_mtime_ns


def test_killed_in_the_second_fold_and_resumed(trained: Path, data: Path, tmp_path: Path) -> None:
    line = command(data, tmp_path, "--checkpoint_every", "0")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "demo" / "fold1_last.pt").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "demo" / "predictions.npy").exists()
    done = run(data, tmp_path, "--resume")
    assert "fold 0: finished before" in done.stdout
    assert "fold 1: continues from epoch" in done.stdout
    assert same_arrays(tmp_path / "demo", trained / "demo")


def test_tta_averages_logits_of_the_views(trained: Path, data: Path) -> None:
    run(data, trained, "--inference", "--tta")
    run(
        data,
        trained,
        "--inference",
        "--tta",
        settings=("name=flipped", "views=['flip']", f"weight_path={trained / 'demo'}"),
    )
    for kind in ("outoffolds", "predictions"):
        plain = np.load(trained / "demo" / f"{kind}.npy")
        flipped = np.load(trained / "flipped" / f"{kind}_tta.npy")
        both = np.load(trained / "demo" / f"{kind}_tta.npy")
        np.testing.assert_allclose(both, (plain + flipped) / 2, rtol=1e-4, atol=1e-6)


def test_weights_of_another_experiment_score_unseen_samples_by_all_folds(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    other = make_data(tmp_path / "other", n_train=20, n_test=6, seed=5)
    done = run(other, trained, "--inference", code=2)
    assert "belongs to other training samples" in done.stderr
    run(other, trained, "--inference", settings=("name=other", f"weight_path={trained / 'demo'}"))
    out_of_fold = np.load(trained / "other" / "outoffolds.npy")
    assert np.isfinite(out_of_fold).all()
    singles = []
    for fold in range(2):
        weights = trained / "demo" / f"fold{fold}.pt"
        settings = (f"name=single{fold}", f"weight_path={weights}")
        run(other, trained, "--inference", settings=settings)
        singles.append(np.load(trained / f"single{fold}" / "predictions.npy")[0])
    predictions = np.load(trained / "other" / "predictions.npy")
    np.testing.assert_allclose(predictions, np.stack(singles), rtol=1e-5, atol=1e-6)


def test_skip_existing_and_changed_settings(trained: Path, data: Path) -> None:
    done = run(data, trained, "--skip_existing")
    assert "fold0.pt exists, skipped" in done.stdout
    done = run(data, trained, "--resume", settings=("seed=8",), code=2)
    assert "differs from this run in seed" in done.stderr
    # One fold of a changed experiment would stand beside the other's fold 1.
    arguments = ("--overwrite", "--limit_fold", "0")
    done = run(data, trained, *arguments, settings=("seed=8",), code=2)
    assert "differs from this run in seed" in done.stderr
    done = run(data, trained, *arguments, settings=("batch_size=8",), code=2)
    assert "--set batch_size=8 accumulate=2 keeps them" in done.stderr


def test_starting_anew_leaves_no_old_fold_to_take_up(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path)
    old = (tmp_path / "demo" / "fold1_last.pt").read_bytes()
    line = command(data, tmp_path, "--overwrite", settings=("batch_size=8",))
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + 120
    while (
        not (tmp_path / "demo" / "fold0.pt").exists() or (tmp_path / "demo" / "fold1.pt").exists()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    path = tmp_path / "demo" / "fold1_last.pt"
    assert not path.exists() or path.read_bytes() != old


def test_targets_that_change_the_folds_are_noticed(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path)
    table = data / "train.csv"
    before = table.read_text()
    lines = before.splitlines()
    number, target, path = lines[1].split(",")
    other = next(i for i, line in enumerate(lines[2:], 2) if line.split(",")[1] != target)
    lines[1] = ",".join([number, lines[other].split(",")[1], path])
    number, _, path = lines[other].split(",")
    lines[other] = ",".join([number, target, path])
    try:
        table.write_text("\n".join(lines) + "\n")
        for option in ("--resume", "--inference"):
            done = run(data, tmp_path, option, code=2)
            assert "folds.npy has other folds than" in done.stderr
    finally:
        table.write_text(before)


def test_a_run_does_not_begin_with_weights_that_know_its_validation(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    weights = trained / "demo"
    run(data, trained, settings=("name=further", f"weight_path={weights}", "num_epochs=1"))
    for settings in (
        ("name=leak", f"weight_path={weights / 'fold0.pt'}"),  # of fold 1 it has seen all
        ("name=leak", f"weight_path={weights}", "splitter_params.random_state=5"),
    ):
        done = run(data, trained, settings=settings, code=2)
        assert "would flatter" in done.stderr
        assert not list(trained.glob("leak/*.pt"))  # nothing was trained in vain
    stray = tmp_path / "stray.pt"
    stray.write_bytes((weights / "fold0.pt").read_bytes())
    done = run(data, tmp_path, settings=("name=stray", f"weight_path={stray}", "num_epochs=1"))
    assert "no ids_train.npy lies beside" in done.stdout


def test_weights_that_have_seen_the_samples_are_refused(trained: Path, data: Path) -> None:
    weights = trained / "demo"
    for settings in (
        ("name=flatter", f"weight_path={weights / 'fold0.pt'}"),
        ("name=flatter", f"weight_path={weights}", "splitter_params.random_state=5"),
    ):
        done = run(data, trained, "--inference", settings=settings, code=2)
        assert "would flatter" in done.stderr
    assert not (trained / "flatter" / "outoffolds.npy").exists()


BY_COMMAND_LINE = "too few for 40 folds"  # one of them in a process of its own


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "Dem"], "no config 'Dem' (did you mean 'Demo'?)"),
        (["--config", "Demo", "--set", "epochs=3"], "no setting 'epochs'"),
        (["--config", "Demo", "--set", "batch_size=big"], "expected int"),
        (["--config", "Demo", "--set", "model_params.width=3"], "did you mean 'widths'"),
        (["--config", "Demo", "--set", "train_path=no/train.csv"], "prep_data.py"),
        (["--config", "Demo", "--limit_fold", "9"], "has folds 0 to 4"),
        (["--config", "Demo", "--limit_fold", "1", "--inference"], "leave --limit_fold out"),
        (["--config", "Demo", "--gpu", "x"], "expected device ids"),
        (["--config", "Demo", "--gpu", "99"], "there is no GPU 99"),
        (["--config", "Demo", "--set", "name=../up"], "expected a plain folder name"),
        (["--config", "Demo", "--tta", "--set", "views=['sideways']"], "no view 'sideways'"),
        (["--config", "Demo", "--set", "amp=fp16"], "needs a GPU"),
        (["--config", "Demo", "--set", "cv=40"], "too few for 40 folds"),
        (["--config", "Demo", "--set", "cv=0"], "cv"),
        (
            ["--config", "Demo", "--set", "splitter_params={'shuffle': True}"],
            "shuffle needs a random_state",
        ),
        (["--config", "Demo", "--inference"], "train that fold first"),
    ],
)
def test_bad_arguments_get_one_sentence(
    data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    paths = [f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    caches = ["train_cache=none", "test_cache=none"]
    line = ["--results", str(tmp_path), "--set", *paths, *caches, *arguments]
    if message == BY_COMMAND_LINE:
        script = [sys.executable, str(ROOT / "train.py")]
        done = subprocess.run([*script, *line], capture_output=True, text=True, cwd=ROOT)
    else:
        done = run_main(train.main, line)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.pt"))


def test_help_and_list() -> None:
    for argument, text in (("--help", "--limit_fold"), ("--list", "Nspec16")):
        done = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), argument], capture_output=True, text=True
        )
        assert done.returncode == 0
        assert text in done.stdout


# --- what a folder may keep ------------------------------------------------------------------


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The finished run, free to be spoilt."""
    shutil.copytree(trained / "demo", tmp_path / "demo", ignore=shutil.ignore_patterns(".*lock"))
    return tmp_path


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


@pytest.mark.parametrize(
    "setting", ["splitter_params.random_state=7", "transforms.test.0.band=(20,300)"]
)
def test_networks_are_scored_as_they_were_trained(data: Path, copy: Path, setting: str) -> None:
    before = files(copy / "demo", "*.npy")
    done = run(data, copy, "--inference", settings=(setting,), code=2)
    assert f"trained with another {setting.split('.')[0]}" in done.stderr
    assert files(copy / "demo", "*.npy") == before
    run(data, copy, "--inference", settings=("views=['flip']", "num_epochs=9"))  # not decisive


def test_bad_arguments_destroy_no_trained_fold(data: Path, copy: Path) -> None:
    before = files(copy / "demo", "*.pt") | files(copy / "demo", "*.npy")
    for arguments, settings in (
        (("--weights", "none.pt"), ()),
        ((), ("batch_size=0",)),
        ((), ("optimizer_params.lr=-1.0",)),
        ((), ("train_cache=none.f32",)),
    ):
        run(data, copy, "--overwrite", *arguments, settings=settings, code=2)
    assert files(copy / "demo", "*.pt") | files(copy / "demo", "*.npy") == before


def test_starting_anew_forgets_the_old_predictions(data: Path, copy: Path) -> None:
    before = files(copy / "demo", "*.npy")
    # The same config: fold 1 is kept
    run(data, copy, "--overwrite", "--limit_fold", "0")
    (aside,) = copy.glob("demo.*")
    assert files(aside, "*.npy") == before
    assert not files(copy / "demo", "predictions*")
    assert not files(copy / "demo", "outoffolds*")
    assert not (copy / "demo" / "submission.csv").exists()
    assert (copy / "demo" / "fold1.pt").exists()
    starts = json.loads((copy / "demo" / "run.json").read_text())["starts"]
    assert len(starts) >= 2  # that of fold 1's weights is among them


def test_predictions_of_other_test_samples_do_not_outlive_their_ids(
    data: Path, copy: Path, tmp_path: Path
) -> None:
    run(data, copy, "--inference", "--tta")
    turned = pd.read_csv(data / "test.csv").iloc[::-1]
    turned.to_csv(data / "turned.csv", index=False)
    before = files(copy / "demo", "*.npy")
    settings = (f"test_path={data / 'turned.csv'}",)
    done = run(data, copy, "--inference", settings=settings, code=2)
    assert "holds predictions and predictions_tta of other test samples" in done.stderr
    assert files(copy / "demo", "*.npy") == before
    run(data, copy, "--inference", "--overwrite", settings=settings)
    (aside,) = copy.glob("demo.*")
    assert files(aside, "*.npy") == before
    assert not (copy / "demo" / "predictions_tta.npy").exists()
    assert np.load(copy / "demo" / "ids_test.npy").tolist() == turned["id"].tolist()


def test_unfinished_folds_are_used_only_when_asked_for(data: Path, copy: Path) -> None:
    folder = copy / "demo"
    for path in folder.glob("fold0*"):
        path.unlink()
    state = folder / "fold1.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "finished": False}))
    done = run(data, copy, "--inference", code=2)
    assert "fold 0 has no weights" in done.stderr
    done = run(data, copy, "--inference", "--overwrite", "--allow_unfinished")
    assert "no weights of fold 0" in done.stdout
    assert "fold 1 is not finished" in done.stdout
    predicted = json.loads((folder / "predictions.json").read_text())["folds"]
    assert {fold: entry["finished"] for fold, entry in predicted.items()} == {"1": False}
    predictions = np.load(copy / "demo" / "predictions.npy")
    assert np.isnan(predictions[0]).all()
    assert np.isfinite(predictions[1]).all()
    folds = np.load(copy / "demo" / "folds.npy")
    out_of_fold = np.load(copy / "demo" / "outoffolds.npy")[:, 0]
    assert (np.isnan(out_of_fold) == (folds == 0)).all()


def test_folds_side_by_side_are_of_one_config(data: Path, tmp_path: Path) -> None:
    line = command(data, tmp_path, "--limit_fold", "0", settings=("num_epochs=40",))
    first = start(train.main, line[2:], tmp_path / "output")
    first.wait_for("epoch 1/40")
    done = run(data, tmp_path, "--limit_fold", "1", code=2)
    assert "config.json says 40: a run may be given more epochs, not fewer" in done.stderr
    os.kill(first.pid, signal.SIGKILL)
    first.wait()


def test_data_may_move_between_a_run_and_its_resume(data: Path, copy: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "moved")
    done = run(tmp_path / "moved", copy, "--resume", settings=("data_root=/",))
    assert "fold 1: finished before" in done.stdout


def test_a_setting_that_came_later_does_not_end_an_old_run(data: Path, copy: Path) -> None:
    path = copy / "demo" / "config.json"
    plain = json.loads(path.read_text())
    del plain["max_bad_losses"]
    path.write_text(json.dumps(plain))
    run(data, copy, "--resume")
    del plain["cv"]  # 2 here, and 5 by default
    path.write_text(json.dumps(plain))
    done = run(data, copy, "--resume", code=2)
    assert "differs from this run in cv" in done.stderr


def test_who_is_notified_of_what(data: Path, copy: Path, monkeypatch, tmp_path: Path) -> None:
    told = []
    monkeypatch.setattr(train, "notify", lambda title, body: told.append(title))
    arguments = command(data, copy, "--resume", "--limit_fold", "1")[2:]
    train.main(arguments)
    assert told == ["demo starts", "demo is done"]
    told.clear()
    with pytest.raises(UserError):
        train.main([*arguments, "--set", "train_path=nowhere.csv"])
    assert told == ["demo failed"]


def test_folds_of_one_run_begin_alike(data: Path, tmp_path: Path) -> None:
    """What decides a result counts where only the command line says it, and not the config."""
    import timm
    import torch

    weights = tmp_path / "weights.pt"
    torch.save(timm.create_model("test_efficientnet", num_classes=0).state_dict(), weights)
    paths = [f"{split}_path={data / f'{split}.csv'}" for split in ("train", "test")]
    caches = ["train_cache=none", "test_cache=none"]
    line = ["--config", "DemoSpec", "--results", str(tmp_path / "results"), "--silent"]
    settings = ["--set", "cv=2", "num_epochs=1", *caches, *paths]
    assert train.main([*line, "--no_pretrained", "--limit_fold", "0", *settings]) == 0
    other = (
        r"with random weights \(begin so again with --no_pretrained\) and this run begins with .*pt"
    )
    with pytest.raises(UserError, match=other):
        train.main([*line, "--weights", str(weights), "--limit_fold", "1", *settings])
    second = tmp_path / "results" / "demo_spec" / "fold1.pt"
    assert not second.exists()
    # The advice works when typed.
    assert train.main([*line, "--no_pretrained", "--limit_fold", "1", *settings]) == 0
    assert second.exists()
