"""What the report reads of whole and of broken runs, against other implementations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from report_runs import Samples, make, read_by_name, write_csv, write_run
from sklearn.metrics import roc_auc_score

from configuration.config_class import ConfigMeta
from experiments.settings import Config
from experiments.summary import write_summary
from metrics import bootstrap_error


def test_scores_are_those_of_another_implementation(results: Path, samples) -> None:
    run = read_by_name(results)["whole"]
    folder = results / "whole"
    folds = np.load(folder / "folds.npy")
    train, test = samples["train"][1], samples["test"][1]
    for suffix, name in (("", "plain"), ("_tta", "tta")):
        out_of_fold = np.load(folder / f"outoffolds{suffix}.npy")[:, 0]
        logits = np.load(folder / f"predictions{suffix}.npy")[..., 0].astype(float)
        variant = run.variants[name]
        of_fold = [roc_auc_score(train[folds == k], out_of_fold[folds == k]) for k in range(4)]
        assert variant.mean == pytest.approx(np.mean(of_fold), abs=1e-12)
        assert variant.deviation == pytest.approx(np.std(of_fold, ddof=1), abs=1e-12)
        assert variant.oof.auc == pytest.approx(roc_auc_score(train, out_of_fold), abs=1e-12)
        blend = (1 / (1 + np.exp(-logits))).mean(0)
        assert variant.test.auc == pytest.approx(roc_auc_score(test, blend), abs=1e-12)
        # Two estimators of one error; 4,000 resamples know it to about a percent.
        resampled = bootstrap_error(train, out_of_fold, n=4000)
        assert variant.oof.error == pytest.approx(resampled, rel=0.06)
    assert run.complete
    assert run.notes == []
    assert run.epochs == [3, 3, 3, 3]
    assert run.seconds == pytest.approx(4 * 3 * 62.5)


def test_rows_are_joined_by_id_and_not_by_position(results: Path, tmp_path: Path, samples) -> None:
    before = read_by_name(results)["whole"].variants["plain"]
    for name in ("train.csv", "test_labels.csv"):
        path = tmp_path / "input" / name
        header, *rows = path.read_text().split()
        path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    after = read_by_name(results)["whole"].variants["plain"]
    assert after.oof.auc == before.oof.auc
    assert after.test.auc == before.test.auc


def lose_a_fold(folder: Path) -> None:
    folds = np.load(folder / "folds.npy")
    for name, rows in (("outoffolds", folds == 2), ("predictions", 2)):
        array = np.load(folder / f"{name}.npy")
        array[rows] = np.nan
        np.save(folder / f"{name}.npy", array)


def still_train(folder: Path) -> None:
    for path in [*folder.glob("*.npy"), folder / "history.csv"]:
        path.unlink()
    (folder / "fold0.pt").write_bytes(b"")


def keep_one_class(folder: Path) -> None:
    rewrite(folder, train_path="one_class.csv", test_path="nowhere/test.csv")
    ids = np.load(folder / "ids_train.npy")
    (folder / "one_class.csv").write_text("id,target\n" + "".join(f"{i},1\n" for i in ids))
    rewrite(folder, train_path=str(folder / "one_class.csv"))


def rewrite(folder: Path, **changed) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def lose_the_table(folder: Path) -> None:
    rewrite(folder, train_path="gone/train.csv")
    stored = {"oof_auc": 0.7654, "oof_auc_error": 0.0123, "fold_scores": {"0": 0.76, "1": 0.77}}
    (folder / "summary.json").write_text(json.dumps(stored))


def ask_for_terabytes(folder: Path) -> None:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000, 1), }"
    header = text.ljust(117) + "\n"
    (folder / "outoffolds.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + header.encode())


BROKEN = {
    "a fold is missing": (lose_a_fold, "fold 2 has no finite logits", True),
    "still training": (still_train, "no predictions yet, 1 of 4 folds have weights", False),
    "one class": (keep_one_class, "hold 400 signals and 0 noise samples", False),
    "the table is gone": (lose_the_table, "gone/train.csv does not exist", True),
    "the table is another": (
        lambda f: rewrite(f, train_path=str(f.parent.parent / "input" / "test_labels.csv")),
        "lacks 400 of 400 samples",
        False,
    ),
    "no array": (lambda f: (f / "outoffolds.npy").write_bytes(b"x"), "not a plain numpy", False),
    "an array of terabytes": (ask_for_terabytes, "not a plain numpy", False),
    "one array": (lambda f: (f / "predictions.npy").unlink(), "without its counterpart", False),
    "other ids": (
        lambda f: np.save(f / "ids_train.npy", np.arange(400)),
        "expected a list of ids",
        False,
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json does not exist", False),
    "config no JSON": (lambda f: (f / "config.json").write_text("{"), "is not a JSON file", False),
    "config a list": (lambda f: (f / "config.json").write_text("[1]"), "holds a list", False),
    "config too deep": (
        lambda f: (f / "config.json").write_text("[" * 100_000),
        "is not a JSON file",
        False,
    ),
    "config deep": (
        lambda f: rewrite(f, model_params=json.loads('{"a":' * 300 + "1" + "}" * 300)),
        "",
        True,
    ),
    "no provenance": (lambda f: (f / "run.json").write_text('{"starts": 3}'), "of starts", True),
    "no history": (
        lambda f: (f / "history.csv").write_text("fold,epoch\n0,x\n"),
        "history.csv is damaged",
        True,
    ),
    "history without folds": (
        lambda f: (f / "history.csv").write_text("a,b\n1,2\n"),
        "history.csv is damaged",
        True,
    ),
    "history of bytes": (
        lambda f: (f / "history.csv").write_bytes(b"\xff\xfe\x00"),
        "history.csv",
        True,
    ),
    "an old summary": (
        lambda f: (f / "summary.json").write_text('{"oof_auc": 0.5}'),
        "AUC of 0.5000, but",
        True,
    ),
    "settings of other types": (
        lambda f: rewrite(
            f,
            cv="five",
            published=[1],
            model_params=7,
            eval_metric=None,
            num_epochs=10**400,
            model=None,
            name=None,
        ),
        "",
        True,
    ),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_run_says_so_in_its_row_and_spoils_no_other(
    results: Path, samples, tmp_path: Path, damage: str
) -> None:
    before = read_by_name(results)["whole"]
    breaks, sentence, scored = BROKEN[damage]
    breaks(write_run(results, "broken", samples, tmp_path / "input", seed=5))
    page = make(results)
    runs = read_by_name(results)
    broken = runs["broken"]
    if sentence:
        assert sentence in " ".join(broken.notes)
        row = re.search(r'aria-label="Notes on broken">(.*?)</ul>', page.text)[1]
        assert escape(sentence) in row
    else:
        assert broken.notes == []
    assert (broken.best.oof is not None) == scored
    whole = runs["whole"]
    assert whole.notes == []
    assert whole.variants["plain"].oof.auc == before.variants["plain"].oof.auc


def test_a_missing_fold_is_left_out_of_the_scores(results: Path, samples, tmp_path: Path) -> None:
    folder = write_run(results, "partial", samples, tmp_path / "input", seed=5)
    lose_a_fold(folder)
    run = read_by_name(results)["partial"]
    out_of_fold = np.load(folder / "outoffolds.npy")[:, 0]
    known = np.isfinite(out_of_fold)
    assert list(run.best.folds) == [0, 1, 3]
    expected = roc_auc_score(samples["train"][1][known], out_of_fold[known])
    assert run.best.oof.auc == pytest.approx(expected, abs=1e-12)
    assert not run.complete
    assert "3 of 4" in make(results).words()


def test_without_its_table_the_stored_scores_are_shown(
    results: Path, samples, tmp_path: Path
) -> None:
    folder = write_run(results, "stored", samples, tmp_path / "input", seed=5)
    lose_the_table(folder)
    page = make(results)
    run = read_by_name(results)["stored"]
    assert run.best.oof.stored
    assert run.best.test is not None  # its truth is still there
    assert not run.best.test.stored
    assert f"the out-of-fold score is the one stored in {folder / 'summary.json'}" in run.notes
    row = re.search(r"Show stored in.*?</tr>", page.text)[0]
    assert "<b>0.7654</b><small>± 0.0123</small>" in row
    assert ">stored</small>" in row
    stored = next(data for data in page.data["runs"] if data["name"] == "stored")
    assert "roc" not in stored["variants"]["plain"]["oof"]


def test_a_dry_run_is_no_experiment(results: Path, samples, tmp_path: Path) -> None:
    write_run(results, "dry_run", samples, tmp_path / "input")
    write_run(results, ".hidden", samples, tmp_path / "input")
    (results / "notes").mkdir()
    assert list(read_by_name(results)) == ["whole"]


def test_the_report_and_the_summary_have_one_score(results: Path, samples, tmp_path: Path) -> None:
    """Of logits around 20, whose float32 probabilities are nearly all 1."""
    folder = write_run(results, "loud", samples, tmp_path / "input", seed=5)
    for name in ("outoffolds", "predictions"):
        np.save(folder / f"{name}.npy", 3 * np.load(folder / f"{name}.npy") + 20)
    train, test = (
        pd.DataFrame({"id": ids, "target": targets.astype(float)})
        for ids, targets in (samples["train"], samples["test"])
    )
    input = tmp_path / "input"
    paths = {f"{split}_path": str(input / f"{split}.csv") for split in ("train", "test")}
    config = ConfigMeta("Loud", (Config,), {"name": "loud", **paths}, register=False)
    summary = write_summary(folder, "", train, test, config, train[["target"]].to_numpy())
    run = read_by_name(results)["loud"]
    for kind in ("oof", "test"):
        scores = getattr(run.best, kind)
        assert (scores.auc, scores.error) == (summary[f"{kind}_auc"], summary[f"{kind}_auc_error"])
    assert {str(fold): auc for fold, auc in run.best.folds.items()} == summary["fold_scores"]
    assert run.notes == []


def test_unfinished_folds_are_noted_and_make_a_run_incomplete(results: Path) -> None:
    state = {"finished": False, "epoch": 1}
    (results / "whole" / "fold1.json").write_text(json.dumps(state))
    run = read_by_name(results)["whole"]
    assert not run.complete
    assert "the scores of fold 1 are not those of a finished training" in " ".join(run.notes)


def test_losses_are_no_aucs(results: Path, samples, tmp_path: Path) -> None:
    """Of a metric that is better when smaller the smallest is the best, and no column holds it."""
    metric = {"eval_metric": {"class": "LogLoss"}}
    folder = write_run(results, "training", samples, tmp_path / "input", cv=2, config=metric)
    for path in folder.glob("*.npy"):
        path.unlink()
    run = read_by_name(results)["training"]
    assert run.best.folds == {}
    # write_run's curve rises from 0.72
    said = "the best validation scores of the training so far are of LogLoss: fold 0 0.7200, fold 1"
    assert any(note.startswith(said) for note in run.notes)


def test_the_page_has_scores_by_loudness(results: Path, samples: Samples, tmp_path: Path) -> None:
    ids, targets = samples["train"]
    rows = [(name, 5 + k / 10) for k, name in enumerate(ids) if targets[k] == 1]
    write_csv(tmp_path / "input" / "parameters.csv", "id,network_snr", rows)
    variants = make(results).data["runs"][0]["variants"]
    found = variants["plain"]["by_quantity"]["oof"]["network SNR"]
    assert sum(found["n"]) == 200
    assert variants["plain"]["by_quantity"]["test"] == {}  # none of the test samples is in it
