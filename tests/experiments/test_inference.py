"""Predictions of a run: whose weights, of which samples, and a way out of every damaged file."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_run import make_data, run_here, same_arrays

from experiments.predictions import read_predictions
from runtime.errors import UserError
from stack.members import read_members

ONCE = ("num_epochs=1", "splitter=KFold")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input", 32, 8)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("finished")
    run_here(data, results, settings=ONCE)
    return results


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "results", ignore=shutil.ignore_patterns(".*"))
    return tmp_path / "results"


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


def moved_aside(results: Path) -> list[Path]:
    return list(results.glob("demo.*"))


# --- whose weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["fold?.json", "fold?_last.pt", "history.csv"])
def test_the_weights_of_a_parent_are_not_those_of_a_child(
    data: Path, results: Path, left: str
) -> None:
    """The child was trained; of its folds one kind of file is left."""
    shutil.copytree(results / "demo", results / "child")
    config = json.loads((results / "child" / "config.json").read_text())
    weights = str(results / "demo")
    config |= {"name": "child", "weight_path": weights}
    (results / "child" / "config.json").write_text(json.dumps(config))
    kept = {*(results / "child").glob(left), results / "child" / "config.json"}
    for path in (results / "child").iterdir():
        if path.is_file() and path not in kept:
            path.unlink()
    child = (*ONCE, "name=child", f"weight_path={weights}")
    done = run_here(data, results, "--inference", settings=child, code=2)
    assert "child/fold0.pt is missing" in done.stderr
    assert not (results / "child" / "predictions.npy").exists()


def test_an_empty_record_is_no_end_of_a_training(data: Path, results: Path) -> None:
    before = contents(results / "demo", "*.npy")
    (results / "demo" / "fold0.json").write_text("{}")
    (results / "demo" / "fold1.json").write_text("[]")
    done = run_here(data, results, "--inference", settings=ONCE, code=2)
    assert re.search(r"fold1\.json holds a list, .*remove it", done.stderr)
    (results / "demo" / "fold1.json").unlink()
    assert "up to date" in run_here(data, results, "--resume", settings=ONCE).stdout
    for fold in (0, 1):  # written again
        assert json.loads((results / "demo" / f"fold{fold}.json").read_text())["finished"]
    assert contents(results / "demo", "*.npy") == before


def test_another_cv_is_said_before_missing_folds(data: Path, results: Path) -> None:
    done = run_here(data, results, "--inference", settings=(*ONCE, "cv=3"), code=2)
    assert "trained with another cv" in done.stderr
    other = (*ONCE, "cv=3", "name=other", f"weight_path={results / 'demo'}")
    done = run_here(data, results, "--inference", settings=other, code=2)
    advice = re.search(r"--set (cv=\d)", done.stderr)[1]
    run_here(data, results, "--inference", settings=(*other, advice))


# --- damaged files ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["outoffolds.npy", "predictions.npy"])
def test_damaged_predictions_are_made_again(data: Path, results: Path, name: str) -> None:
    before = contents(results / "demo", "*.npy")
    for damaged in (np.zeros(6, np.float32), np.zeros((32, 1), np.int8)):
        np.save(results / "demo" / name, damaged)
        run_here(data, results, "--inference", settings=ONCE)
        assert contents(results / "demo", "*.npy") == before
    (results / "demo" / name).write_bytes(before[name][:-5])
    run_here(data, results, "--resume", settings=ONCE)
    assert contents(results / "demo", "*.npy") == before
    # The damaged ones are kept as well.
    assert len([path for path in moved_aside(results) if (path / name).exists()]) == 3


@pytest.mark.parametrize("name", ["ids_train.npy", "ids_test.npy", "folds.npy"])
def test_damaged_ids_are_written_again(data: Path, results: Path, name: str) -> None:
    """Records of the folds and of the predictions say which samples they are of."""
    before = contents(results / "demo", "*.npy")
    for damage in (b"", before[name][:-3], before["predictions.npy"], None):
        if damage is None:
            (results / "demo" / name).unlink()
        else:
            (results / "demo" / name).write_bytes(damage)
        done = run_here(data, results, "--inference", settings=ONCE)
        assert "up to date" in done.stdout
        assert contents(results / "demo", "*.npy") == before
    assert not [path for path in moved_aside(results) if (path / "predictions.npy").exists()]


def test_damaged_ids_of_another_table_are_not_written_again(data: Path, results: Path) -> None:
    other = make_data(results.parent / "other", 32, 8, seed=4)
    (results / "demo" / "ids_train.npy").write_bytes(b"")
    settings = (*ONCE, f"train_path={other / 'train.csv'}")
    for flags in (("--inference",), ("--inference", "--overwrite"), ("--resume",)):
        done = run_here(data, results, *flags, settings=settings, code=2)
        assert "ids_train.npy is damaged" in done.stderr
    assert (results / "demo" / "ids_train.npy").read_bytes() == b""


def test_damaged_records_of_predictions(data: Path, results: Path) -> None:
    before = contents(results / "demo", "*.npy")
    weights = contents(results / "demo", "fold*.pt")
    for text in ("{}", "[]", "3"):
        (results / "demo" / "predictions.json").write_text(text)
        done = run_here(data, results, "--resume", settings=ONCE, code=2)
        advice = re.search(r"predict with (--inference --overwrite)", done.stderr)[1].split()
        run_here(data, results, *advice, settings=ONCE)
        assert contents(results / "demo", "*.npy") == before
    assert contents(results / "demo", "fold*.pt") == weights


def test_damaged_learning_curves(data: Path, results: Path) -> None:
    path = results / "demo" / "history.csv"
    before = path.read_bytes()
    path.write_text("fold,epoch\n0,one\n")
    done = run_here(data, results, "--inference", settings=ONCE, code=2)
    advice = re.search(r"history\.csv is damaged: .*(--resume) writes it again", done.stderr)[1]
    run_here(data, results, advice, settings=ONCE)
    assert path.read_bytes() == before


# --- predictions of something else -----------------------------------------------------------


def test_the_advice_about_other_predictions_trains_nothing(data: Path, results: Path) -> None:
    weights = contents(results / "demo", "fold*.pt")
    path = results / "demo" / "predictions.json"
    stamp = json.loads(path.read_text())
    stamp["folds"]["0"]["weights"] = "other"
    path.write_text(json.dumps(stamp))
    done = run_here(data, results, "--resume", settings=ONCE, code=2)
    advice = re.search(r": ((?:--\w+ )+)moves it aside", done.stderr)[1].split()
    done = run_here(data, results, *advice, settings=ONCE)
    assert "epoch" not in done.stdout
    assert contents(results / "demo", "fold*.pt") == weights


def test_a_copied_run_of_before_digests_is_not_said_to_be_of_other_weights(
    data: Path, results: Path
) -> None:
    path = results / "demo" / "predictions.json"
    stamp = json.loads(path.read_text())
    files = {str(k): results / "demo" / f"fold{k}.pt" for k in (0, 1)}
    early = {key: stamp[key] for key in ("views", "samples", "config")}
    early["weights"] = {k: [str(file), file.stat().st_size, 5] for k, file in files.items()}
    path.write_text(json.dumps(early))
    done = run_here(data, results, "--resume", settings=ONCE, code=2)
    assert "no digest and another date or size" in done.stderr
    assert "--inference --overwrite moves it aside" in done.stderr


def test_other_targets_are_other_samples(data: Path, results: Path) -> None:
    other = (*ONCE, "name=other", f"weight_path={results / 'demo'}")
    run_here(data, results, "--inference", settings=other)
    before = {name: contents(results / name, "[so]*.[!l]*") for name in ("demo", "other")}
    lines = (data / "train.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    swapped = [f"{name},{1 - int(target)},{path}" for name, target, path in rows]
    (data / "swapped.csv").write_text("\n".join([lines[0], *swapped]) + "\n")
    table = f"train_path={data / 'swapped.csv'}"
    for settings in (ONCE, other):
        for flags in ((), ("--overwrite",)):
            done = run_here(
                data, results, "--inference", *flags, settings=(*settings, table), code=2
            )
            assert re.search("other ids, targets or folds|other targets", done.stderr)
    assert {name: contents(results / name, "[so]*.[!l]*") for name in before} == before


# --- predictions of an earlier version and lost records --------------------------------------


@pytest.fixture
def earlier(results: Path) -> Path:
    """The run directory as a version without digests left it."""
    folder = results / "demo"
    stamp = json.loads((folder / "predictions.json").read_text())
    weights = {}
    for fold in stamp["folds"]:
        path = folder / f"fold{fold}.pt"
        weights[fold] = [f"results/demo/{path.name}", path.stat().st_size, path.stat().st_mtime_ns]
        record = json.loads((folder / f"fold{fold}.json").read_text())
        record = {k: v for k, v in record.items() if k not in ("weights", "trained_from")}
        (folder / f"fold{fold}.json").write_text(json.dumps(record))
    kept = {key: stamp[key] for key in ("views", "config", "samples")}
    (folder / "predictions.json").write_text(json.dumps({**kept, "weights": weights}))
    return folder


def stack_names(folder: Path) -> list[tuple[str, str]]:
    return [(run.name, run.suffix) for run in read_members([folder], named=True).runs]


def test_views_beside_the_predictions_of_an_earlier_version(data: Path, earlier: Path) -> None:
    before = (earlier / "predictions.npy").read_bytes()
    assert stack_names(earlier) == [("demo", "")]
    run_here(data, earlier.parent, "--inference", "--tta", settings=ONCE)
    assert stack_names(earlier) == [("demo", "_tta")]
    assert "up to date" in run_here(data, earlier.parent, "--inference", settings=ONCE).stdout
    assert (earlier / "predictions.npy").read_bytes() == before
    assert json.loads((earlier / "predictions.json").read_text())["views"] == ["identity"]


def test_the_advice_for_files_of_another_time_works_when_it_is_typed(
    data: Path, earlier: Path, finished: Path
) -> None:
    """A copy without times: nobody knows whether the earlier logits are of these weights."""
    os.utime(earlier / "fold0.pt", ns=(0, 0))
    refused = run_here(data, earlier.parent, "--inference", settings=ONCE, code=2)
    assert "another date or size" in refused.stderr
    assert "--inference --overwrite moves it aside" in refused.stderr
    run_here(data, earlier.parent, "--inference", "--tta", settings=ONCE)
    with pytest.raises(UserError, match="predict with --inference --overwrite, which moves both"):
        stack_names(earlier)
    run_here(data, earlier.parent, "--inference", "--overwrite", settings=ONCE)
    run_here(data, earlier.parent, "--inference", "--tta", settings=ONCE)
    assert stack_names(earlier) == [("demo", "_tta")]
    assert same_arrays(earlier, finished / "demo")
    (aside,) = earlier.parent.glob("demo.*")
    assert (aside / "predictions_tta.npy").exists()


def test_a_lost_record_is_made_again_by_predicting(data: Path, results: Path) -> None:
    folder = results / "demo"
    (folder / "predictions.json").unlink()
    with pytest.raises(
        UserError, match=r"predictions\.json is missing, so .*finish its folds with --r"
    ):
        stack_names(folder)
    run_here(data, folder.parent, "--resume", settings=ONCE)
    assert stack_names(folder) == [("demo", "")]
    assert not list(folder.parent.glob("demo.*"))  # the same arrays


def test_the_advice_for_damaged_logits_works_when_it_is_typed(
    data: Path, finished: Path, results: Path
) -> None:
    folder = results / "demo"
    np.save(folder / "outoffolds.npy", np.zeros(32, np.float32))
    with pytest.raises(UserError, match="predict again with --inference --overwrite"):
        read_predictions(folder)
    run_here(data, folder.parent, "--inference", "--overwrite", settings=ONCE)
    assert same_arrays(folder, finished / "demo")
