"""What the report says of whole and of broken runs, and its command line."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from report_runs import make, write_run, write_tables
from sklearn.metrics import roc_auc_score, roc_curve

import report
from metrics import bootstrap_error
from reporting.curves import BINS, MOST_POINTS, measure, thin
from reporting.data import Run, read_runs
from runtime.errors import UserError


@pytest.fixture
def samples(tmp_path: Path):
    return write_tables(tmp_path / "input")


@pytest.fixture
def results(tmp_path: Path, samples) -> Path:
    """One whole run, which every damage beside it must leave as it is."""
    folder = tmp_path / "results"
    write_run(folder, "whole", samples, tmp_path / "input", seed=1, tta=True)
    return folder


def by_name(results: Path) -> dict[str, Run]:
    return {run.name: run for run in read_runs(results)}


# --- scores ----------------------------------------------------------------------------------


def test_scores_are_those_of_another_implementation(results: Path, samples) -> None:
    run = by_name(results)["whole"]
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
    before = by_name(results)["whole"].variants["plain"]
    for name in ("train.csv", "test_labels.csv"):
        path = tmp_path / "input" / name
        header, *rows = path.read_text().split()
        path.write_text("\n".join([header, *reversed(rows)]) + "\n")
    after = by_name(results)["whole"].variants["plain"]
    assert after.oof.auc == before.oof.auc
    assert after.test.auc == before.test.auc


def test_the_page_shows_the_scores_and_where_they_come_from(results: Path) -> None:
    page = make(results)
    run = by_name(results)["whole"]
    words = page.words()
    plain, tta = run.variants["plain"], run.variants["tta"]
    for value in (plain.mean, plain.oof.auc, plain.test.auc, tta.oof.auc, tta.test.auc):
        assert f"{value:.4f}" in words
    for text in (
        f"± {plain.deviation:.4f}",
        f"± {plain.oof.error:.4f}",
        "CQT",
        "resnet18",
        "a1_in1k",
        "12 min 30 s",
        "cuda NVIDIA H100",
        "01234567+",
        "torch 2.8.0",
        "2026-01-02 03:04",
    ):
        assert text in words
    assert "make it with python stacking.py" in words
    data = page.data["runs"][0]
    assert data["variants"]["plain"]["oof"]["auc"] == plain.oof.auc
    assert data["settings"]["model_params.spectrogram"] == "CQT"
    assert data["history"]["2"]["valid_metric"] == [0.722, 0.742, 0.762]
    assert data["history"]["2"]["train_metric"] == [None, None, None]  # NaN is no JSON


def test_published_scores_stand_beside_ours(results: Path, samples, tmp_path: Path) -> None:
    config = {"published": {"cv": 0.7, "private": 0.8782, "tta": True}}
    own = write_run(results, "own", samples, tmp_path / "input", config=config)
    write_run(
        results,
        "changed",
        samples,
        tmp_path / "input",
        config=config,
        start={"command": ["train.py", "--set", "name=changed", "num_epochs=3", "--gpu", "0"]},
    )
    page = make(results).text
    rows = {
        name: re.search(rf'aria-label="Show {name} in.*?</tr>', page)[0]
        for name in ("own", "changed", "whole")
    }
    difference = by_name(results)[own.name].variants["plain"].mean - 0.7
    assert f"{difference:+.4f}".replace("-", "−") in rows["own"]
    assert "<b>0.8782</b>" in rows["own"]
    assert "other settings" not in rows["own"]
    assert 'title="run with --set num_epochs=3"' in rows["changed"]
    assert "0.8782" not in rows["whole"]


def test_the_best_is_marked_within_a_set_of_samples_only(
    results: Path, samples, tmp_path: Path
) -> None:
    write_run(results, "weaker", samples, tmp_path / "input", seed=2, strength=0.2)
    other = write_tables(tmp_path / "other", seed=7)
    for name, strength in (("easy", 1.5), ("easier", 3.0)):
        write_run(results, name, other, tmp_path / "other", seed=3, strength=strength)
    page = make(results)
    assert "2 different sets of samples (A, B)" in page.words()
    best = [
        name
        for name in by_name(results)
        if re.search('class="score[^"]* best"', re.search(f"Show {name} in.*?</tr>", page.text)[0])
    ]
    assert sorted(best) == ["easier", "whole"]


# --- what is drawn ---------------------------------------------------------------------------


def distances(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """The distance (n,) of each of (n, 2) points from a polyline (m, 2), by brute force."""
    start, along = line[:-1], np.diff(line, axis=0)
    share = ((points[:, None] - start) * along).sum(-1) / (along**2).sum(-1)
    nearest = start + share.clip(0, 1)[..., None] * along  # (n, m - 1, 2)
    return np.linalg.norm(points[:, None] - nearest, axis=-1).min(1)


def test_a_thinned_curve_is_made_of_true_points_and_says_how_far_it_strays() -> None:
    generator = np.random.default_rng(3)
    targets = np.arange(40_000) % 2
    scores = 1.5 * targets + generator.normal(size=targets.size)
    full = np.stack(roc_curve(targets, scores)[:2], axis=1)
    assert len(full) > 5_000
    curve = thin(*full.T)
    line = np.stack([curve.false_alarms, curve.efficiency], axis=1)
    assert len(line) <= MOST_POINTS
    assert line[0].tolist() == [0, 0]
    assert line[-1].tolist() == [1, 1]
    assert {tuple(point) for point in line} <= {tuple(point) for point in full}
    assert (np.diff(line, axis=0) >= 0).all()
    farthest = distances(full, line).max()
    assert farthest == pytest.approx(curve.worst, rel=1e-6)
    assert farthest < 1e-3
    area = np.trapezoid(line[:, 1], line[:, 0])
    assert area == pytest.approx(roc_auc_score(targets, scores), abs=1e-4)
    # On a logarithmic axis the first steps are far apart: all of their corners are kept.
    for rare in np.unique(full[:, 0])[:5]:
        corner = full[full[:, 0] == rare][-1]
        assert corner.tolist() in line.tolist()


def test_a_small_curve_stays_whole() -> None:
    generator = np.random.default_rng(4)
    targets = np.arange(80) % 2
    full = roc_curve(targets, targets + generator.normal(size=80))
    curve = thin(full[0], full[1])
    assert curve.worst == 0
    line = np.stack([curve.false_alarms, curve.efficiency], axis=1)
    assert distances(np.stack(full[:2], axis=1), line).max() < 1e-15


@pytest.mark.parametrize("scores", [np.zeros(50), np.linspace(-3, 1e9, 50)])
def test_every_sample_is_counted_in_the_histogram(scores: np.ndarray) -> None:
    targets = np.arange(50) % 5 == 0
    drawn = measure(targets, scores).histogram
    assert len(drawn["noise"]) == len(drawn["signal"]) == BINS
    assert (sum(drawn["noise"]), sum(drawn["signal"])) == (40, 10)
    assert drawn["low"] < drawn["high"]


def test_a_long_history_is_thinned_to_its_last_epoch(
    results: Path, samples, tmp_path: Path
) -> None:
    write_run(results, "long", samples, tmp_path / "input", epochs=1001, cv=2)
    epochs = {run["name"]: run["history"]["1"]["epoch"] for run in make(results).data["runs"]}
    assert epochs["whole"] == [1, 2, 3]
    assert epochs["long"][:2] == [6, 12]
    assert epochs["long"][-1] == 1001
    assert len(epochs["long"]) <= 201


# --- runs that are not whole -----------------------------------------------------------------


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
    "an array of terabytes": (ask_for_terabytes, "does not fit into memory", False),
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
        "cannot be read",
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
        "could not convert",
        True,
    ),
    "history without folds": (
        lambda f: (f / "history.csv").write_text("a,b\n1,2\n"),
        "row 2: no fold",
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
    before = by_name(results)["whole"]
    breaks, sentence, scored = BROKEN[damage]
    breaks(write_run(results, "broken", samples, tmp_path / "input", seed=5))
    page = make(results)
    runs = by_name(results)
    broken = runs["broken"]
    if sentence:
        assert sentence in " ".join(broken.notes)
        row = re.search(r'aria-label="Notes on broken">(.*?)</ul>', page.text)[1]
        assert html.escape(sentence, quote=True) in row
    else:
        assert broken.notes == []
    assert (broken.best.oof is not None) == scored
    whole = runs["whole"]
    assert whole.notes == []
    assert whole.variants["plain"].oof.auc == before.variants["plain"].oof.auc


def test_a_missing_fold_is_left_out_of_the_scores(results: Path, samples, tmp_path: Path) -> None:
    folder = write_run(results, "partial", samples, tmp_path / "input", seed=5)
    lose_a_fold(folder)
    run = by_name(results)["partial"]
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
    run = by_name(results)["stored"]
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
    assert list(by_name(results)) == ["whole"]


# --- the command line ------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a dry run"])
def test_no_runs_is_one_sentence(tmp_path: Path, there: str) -> None:
    results = tmp_path / "results"
    if there != "nothing":
        results.mkdir()
    if there == "a dry run":
        write_run(results, "dry_run", write_tables(tmp_path), tmp_path)
    line = [sys.executable, str(ROOT / "report.py"), "--results", str(results)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "train one first" in done.stderr
    assert not (results / "index.html").exists()


def test_where_it_is_written(results: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "elsewhere" / "page.html"
    assert report.main(["--results", str(results), "--out", str(out)]) == 0
    old = out.read_bytes()
    assert not (results / "index.html").exists()
    with pytest.raises(UserError, match="is a folder"):
        report.main(["--results", str(results), "--out", str(tmp_path)])

    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="no space left"):
        report.main(["--results", str(results), "--out", str(out)])
    assert out.read_bytes() == old
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, report; report.build_parser();"
        "print(*{'numpy', 'pandas', 'sklearn', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "", done.stderr
