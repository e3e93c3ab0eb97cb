"""summary.json, submission.csv and the closing sentence, from arrays in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from stack_runs import read_exactly

from configuration.config_class import ConfigMeta
from experiments import summary
from experiments.npy_files import save_array
from experiments.settings import Config
from experiments.summary import best_validation_scores, list_run_files, run_paragraph, write_summary
from runtime.files import write_json


def write_run(root: Path, n: int = 60, m: int = 40, scale: float = 1.0, offset: float = 0.0):
    """Write the arrays of a run with two folds and its tables; return folder, train and test."""
    rng = np.random.default_rng(5)
    folder, tables = root / "results" / "five", root / "input"
    tables.mkdir(parents=True)
    train = pd.DataFrame({"id": [f"a{i}" for i in range(n)], "target": np.arange(n) // 2 % 2.0})
    test = pd.DataFrame({"id": [f"b{i}" for i in range(m)], "target": 0.5})
    truth = test.assign(target=np.arange(m) % 2)
    truth.to_csv(tables / "test_labels.csv", index=False)
    out_of_fold = offset + scale * (rng.normal(size=(n, 1)) + train[["target"]].to_numpy())
    logits = offset + scale * (rng.normal(size=(2, m, 1)) + truth["target"].to_numpy()[:, None])
    save_array(folder / "outoffolds.npy", out_of_fold.astype(np.float32))
    save_array(folder / "predictions.npy", logits.astype(np.float32))
    save_array(folder / "folds.npy", np.arange(n) % 2)
    return folder, train, test


def summarize(
    root: Path, folder: Path, train: pd.DataFrame, test: pd.DataFrame, suffix: str = ""
) -> dict:
    paths = {f"{split}_path": str(root / "input" / f"{split}.csv") for split in ("train", "test")}
    config = ConfigMeta("Summarized", (Config,), {"name": "five", **paths}, register=False)
    true = train[["target"]].to_numpy()  # (n, 1)
    return write_summary(folder, suffix, train, test, config, true)


def test_the_test_score_is_that_of_the_submission_to_the_last_bit(tmp_path: Path) -> None:
    """Logits around 20, whose float32 probabilities are nearly all 1."""
    folder, train, test = write_run(tmp_path, m=4000, scale=3.0, offset=20.0)
    result = summarize(tmp_path, folder, train, test)
    truth = np.arange(4000) % 2
    submitted = read_exactly(folder / "submission.csv")["target"].to_numpy()
    assert result["test_auc"] == pytest.approx(roc_auc_score(truth, submitted), abs=1e-15)
    assert len(np.unique(submitted)) == 4000
    logits = np.load(folder / "predictions.npy")[..., 0]
    float32 = (1 / (1 + np.exp(-logits))).mean(0)
    assert abs(roc_auc_score(truth, float32) - result["test_auc"]) > 1e-4  # as it was computed


@pytest.mark.parametrize(("maximize", "expected"), [(True, 0.9), (False, 0.4)])
def test_the_best_validation_score_is_that_of_the_metric(maximize: bool, expected: float) -> None:
    scores = {0: (0.7, 0.4, 0.9), 1: (float("nan"), 0.5)}
    history = [
        {"fold": fold, "epoch": epoch, "valid_metric": score}
        for fold, curve in scores.items()
        for epoch, score in enumerate(curve, 1)
    ]
    assert best_validation_scores(history, maximize) == {"0": expected, "1": 0.5}


def test_unfinished_folds_are_marked(tmp_path: Path) -> None:
    folder, train, test = write_run(tmp_path)
    write_json(
        folder / "predictions.json", {"views": ["identity"], "weights": {}}
    )  # as written by versions without digests
    write_json(folder / "fold1.json", {"finished": False, "epoch": 1})
    result = summarize(tmp_path, folder, train, test)
    assert "fold1.json" in result["unfinished"]["1"]
    assert json.loads((folder / "summary.json").read_text()) == result
    text = run_paragraph("five", result, folder, "")
    assert "The training of fold 1 had not ended" in text


def test_a_fold_that_is_predicted_in_part_has_no_score(tmp_path: Path) -> None:
    folder, train, test = write_run(tmp_path)
    (folder / "history.csv").write_text("fold,epoch,valid_metric\n0,1,0.5\n")
    array = np.load(folder / "outoffolds.npy")
    array[1] = np.nan
    save_array(folder / "outoffolds.npy", array)
    result = summarize(tmp_path, folder, train, test)
    assert list(result["fold_scores"]) == ["0"]


def test_the_closing_sentence_names_what_is_there(tmp_path: Path) -> None:
    folder, train, test = write_run(tmp_path)
    assert list_run_files(tmp_path, "") == f"There are no results in {tmp_path}/."
    result = summarize(tmp_path, folder, train, test)
    text = run_paragraph("five", result, folder, "")
    assert text.endswith(
        f"In {folder}/: outoffolds.npy, predictions.npy, submission.csv, summary.json and "
        f"summary.png."
    )
    (folder / "summary.png").unlink()
    for name in ("fold0.pt", "fold1.pt", "fold1_last.pt"):
        (folder / name).touch()
    text = run_paragraph("five", result, folder, "")
    assert "summary.png" not in text
    assert "In " + str(folder) + "/: the weights of 2 folds, outoffolds.npy" in text


def test_a_dry_run_states_no_score(tmp_path: Path) -> None:
    folder, train, test = write_run(tmp_path)
    result = summarize(tmp_path, folder, train, test)
    text = run_paragraph("five", result, folder, "", dry_run=True)
    assert "AUC" not in text
    assert "mean nothing" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "id,label\nb0,1\n",
        "id,target\nother,1\n",
        "id,target\nb0,1\nb0,0\n",
        "id,target\nb0,yes\n",
        "half",
        "folder",
    ],
)
def test_a_foreign_table_of_truths_costs_the_test_score_only(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read after hours of training, which it must not end with an error."""
    monkeypatch.setattr(summary, "draw_summary", lambda *_: None)
    folder, train, test = write_run(tmp_path)
    whole = summarize(tmp_path, folder, train, test)
    path = tmp_path / "input" / "test_labels.csv"
    if text == "half":
        test.to_csv(path, index=False)  # every target is 0.5
    elif text == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_text(text)
    scores = {key: value for key, value in whole.items() if not key.startswith("test_")}
    assert scores != whole
    assert summarize(tmp_path, folder, train, test) == scores


def test_the_figure_shows_the_snrs_that_lie_beside_the_training_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, train, test = write_run(tmp_path)
    values = np.where(train["target"] == 1, 8 + np.arange(len(train)) / 10, np.nan)
    table = train[["id"]].assign(network_snr=values)
    table.iloc[::-1].to_csv(tmp_path / "input" / "parameters.csv", index=False)
    drawn = []
    monkeypatch.setattr(summary, "draw_summary", lambda *arguments: drawn.append(arguments))
    summarize(tmp_path, folder, train, test)
    ((picture, *_, known, _, _),) = drawn
    assert picture.path == folder / "summary.png"
    np.testing.assert_allclose(
        known["network SNR"], values
    )  # in the order of the samples, whatever the file's


def test_views_write_files_of_their_own(tmp_path: Path) -> None:
    folder, train, test = write_run(tmp_path)
    summarize(tmp_path, folder, train, test)
    names = ("submission.csv", "summary.json", "summary.png")
    before = {name: (folder / name).read_bytes() for name in names}
    for kind in ("outoffolds", "predictions"):
        save_array(folder / f"{kind}_tta.npy", 2 + np.load(folder / f"{kind}.npy"))
    result = summarize(tmp_path, folder, train, test, "_tta")
    assert {name: (folder / name).read_bytes() for name in names} == before
    assert (folder / "submission_tta.csv").read_bytes() != before["submission.csv"]
    text = run_paragraph("five", result, folder, "_tta")
    assert "submission_tta.csv, summary_tta.json and summary_tta.png." in text
