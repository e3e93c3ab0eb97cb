"""predict.py: new samples in every form, without targets or training files."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_run
from paths import ROOT

import predict
from configs import Demo
from configuration.overrides import override
from experiments import run_identity, score_files
from experiments.scores import blend_folds
from experiments.targets import outputs_of
from physics.observation import COMPETITION
from predict import load_run
from runtime.errors import UserError
from search.conditioning import make_design_noise


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run.make_data(tmp_path_factory.mktemp("predict") / "input")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two folds, whose training files are out of reach afterwards."""
    results = tmp_path_factory.mktemp("predict_results")
    small_run.run_here(data, results, "--num_workers", "0")
    return results / "demo"


@pytest.fixture(scope="module")
def new_samples(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test samples alone, in a folder of their own."""
    folder = tmp_path_factory.mktemp("new")
    for path in data.glob("test*.npy"):
        shutil.copy(path, folder)
    return folder


def score(run: Path, out: Path, *words: str) -> pd.DataFrame:
    assert predict.main(["--run", str(run), "--out", str(out), *words]) == 0
    return pd.read_csv(out, dtype={"id": str})


def expected(run: Path, suffix: str = "") -> pd.Series:
    """The run's own submission of the same samples."""
    return pd.read_csv(run / f"submission{suffix}.csv").set_index("id")["target"]


def test_all_forms_of_data_give_the_run_s_own_scores(
    run: Path, data: Path, new_samples: Path, tmp_path: Path
) -> None:
    wanted = expected(run)
    files = sorted(new_samples.glob("*.npy"))
    table = pd.DataFrame({"id": [f"a{k}" for k in range(len(files))], "path": map(str, files)})
    table.to_csv(tmp_path / "table.csv", index=False)
    np.save(tmp_path / "array.npy", np.stack([np.load(path) for path in files]))
    forms = {
        "folder": [str(new_samples)],
        "files": list(map(str, files)),
        "table": [str(tmp_path / "table.csv")],
        "array": [str(tmp_path / "array.npy")],
        "one": [str(files[0])],
    }
    for name, words in forms.items():
        found = score(run, tmp_path / f"of_{name}.csv", "--data", *words)
        stems = [path.stem for path in files][: len(found)]
        # The same float32 networks on other batches: sums of another order.
        np.testing.assert_allclose(found["probability"], wanted[stems], atol=2e-6)
        mean = found[["fold0", "fold1"]].mean(axis=1)
        np.testing.assert_allclose(found["probability"], mean, atol=1e-12)
        np.testing.assert_allclose(
            found["spread"], (found["fold0"] - found["fold1"]).abs() / 2, atol=1e-12
        )
    with_views = score(run, tmp_path / "tta.csv", "--data", str(new_samples), "--tta")
    small_run.run_here(data, run.parent, "--inference", "--tta", "--num_workers", "0")
    np.testing.assert_allclose(
        with_views["probability"], expected(run, "_tta")[with_views["id"]], atol=2e-6
    )


def test_from_python(run: Path, new_samples: Path) -> None:
    predictor = load_run(run)
    strain = np.stack([np.load(path) for path in sorted(new_samples.glob("*.npy"))])
    found = predictor(strain)
    ids = sorted(path.stem for path in new_samples.glob("*.npy"))
    np.testing.assert_allclose(found, expected(run)[ids], atol=2e-6)
    np.testing.assert_allclose(predictor(strain[3]), found[3:4], atol=2e-6)
    scores = predictor.score(strain)
    assert scores.logits.shape == (2, len(strain))
    np.testing.assert_allclose(
        scores.probability, 1 / (1 + np.exp(-blend_folds(scores.logits))), atol=1e-12
    )
    for bad, message in (
        (strain[:, :2], "takes \\(n, 3, 4096\\)"),
        (strain * np.nan, "sample 0 holds NaN"),
    ):
        with pytest.raises(UserError, match=message):
            predictor(bad)


def test_training_samples_are_said_to_be_known(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    found = score(run, tmp_path / "all.csv", "--data", str(data))
    known = found["id"].str.startswith("train")
    assert (found["learnt_from"] == known).all()
    assert f"{known.sum()} of them are among the samples" in capsys.readouterr().out


def test_the_other_formats(run: Path, new_samples: Path, tmp_path: Path) -> None:
    words = ["--run", str(run), "--data", str(new_samples), "--out"]
    table = score(run, tmp_path / "scores.csv", "--data", str(new_samples))
    predict.main([*words, str(tmp_path / "scores.npy")])
    of_folds = np.load(tmp_path / "scores.npy")
    np.testing.assert_allclose(of_folds.T, table[["fold0", "fold1"]], atol=1e-12)
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(UserError, match=r"pip install -e '\.\[parquet\]'"):
            predict.main([*words, str(tmp_path / "scores.parquet")])
        return
    predict.main([*words, str(tmp_path / "scores.parquet")])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), table)


def test_an_interrupted_scoring_is_continued(
    run: Path, new_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_files, "PART", 5)
    whole = score(run, tmp_path / "whole.csv", "--data", str(new_samples))
    scored = []
    original = predict.score_part

    def fails_in_the_third(predictor, samples, first, last, bar):
        scored.append(first)
        if len(scored) == 3:
            raise KeyboardInterrupt
        return original(predictor, samples, first, last, bar)

    monkeypatch.setattr(predict, "score_part", fails_in_the_third)
    out = tmp_path / "killed.csv"
    with pytest.raises(KeyboardInterrupt):
        score(run, out, "--data", str(new_samples))
    assert not out.exists()
    killed = score(run, out, "--data", str(new_samples))
    assert scored[3] == 10  # two parts were kept
    pd.testing.assert_frame_equal(killed, whole)
    assert sorted(path.name for path in tmp_path.glob("*killed*")) == [
        "killed.csv",
        "killed.csv.json",
    ]


def test_a_sample_with_nan_is_named_and_what_is_scored_is_kept(
    run: Path, new_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Restored, the same command goes on; a refusal before anything is scored leaves nothing."""
    monkeypatch.setattr(score_files, "PART", 8)
    # Digests of rows 0, 7, 15 and 23 alone: large sets of samples are not read twice either.
    for name in ("STRAIN_SAMPLES", "EARLIER_STRAIN_SAMPLES"):
        monkeypatch.setattr(run_identity, name, 4)
    strain = np.stack([np.load(path) for path in sorted(new_samples.glob("*.npy"))])
    array, out = tmp_path / "array.npy", tmp_path / "scores.csv"
    words = ("--data", str(array), "--batch_size", "8")

    def refused(row: int) -> str:
        broken = strain.copy()
        broken[row, 1, 100] = np.nan
        np.save(array, broken)
        with pytest.raises(UserError) as refusal:
            score(run, out, *words)
        return str(refusal.value)

    assert f"{array}: sample 1 holds NaN" in refused(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["array.npy"]
    assert "sample 18 holds NaN or infinite strain: restore it, and the same" in refused(18)
    assert (tmp_path / ".scores.csv.unfinished" / "part000001.npy").is_file()
    np.save(array, strain)
    continued = score(run, out, *words)
    assert "16 of 24 samples are scored" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "array.npy",
        "scores.csv",
        "scores.csv.json",
    ]
    pd.testing.assert_frame_equal(continued, score(run, tmp_path / "whole.csv", *words))


def test_samples_without_a_finite_score_are_named_and_what_is_scored_is_kept(
    run: Path,
    new_samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Finite strain so large that the network overflows, as that of NaN: with views, twice."""
    monkeypatch.setattr(score_files, "PART", 8)
    strain = np.stack([np.load(path) for path in sorted(new_samples.glob("*.npy"))])
    broken = strain.astype(np.float32)
    broken[[17, 19], 1] = 1e37
    array, out = tmp_path / "array.npy", tmp_path / "scores.csv"
    np.save(array, broken)
    for words in ((), (), ("--tta",)):
        with pytest.raises(UserError) as refusal:
            score(run, out, "--data", str(array), "--batch_size", "8", *words)
        assert f"{array}: samples 17, 19 have no finite score, likely whitened" in str(
            refusal.value
        )
        assert "restore them, and the same command continues; or leave them out" in str(
            refusal.value
        )
        assert not out.exists()
        assert (tmp_path / ".scores.csv.unfinished" / "part000001.npy").is_file()
    predictor = load_run(run)
    with pytest.raises(UserError, match=r"^sample 1 has no finite score, likely whitened"):
        predictor(broken[18:20])
    with pytest.raises(UserError, match=r"^sample 0 has no finite score"):
        predictor(broken[19])
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]


def test_an_output_that_float64_cannot_hold_is_no_finite_score(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several outputs: a side target of which the network learns the logarithm."""
    predictor = load_run(run)
    predictor.outputs = outputs_of(override(Demo, ["side_targets=['chirp_mass']"]))
    outputs = np.zeros((2, 3, 2))
    monkeypatch.setattr(predictor, "forward", lambda part: outputs)
    strain = np.zeros((3, 3, 4096))
    assert np.isfinite(predictor.score(strain).of_folds).all()
    outputs[1, 2, 1] = 1e4  # finite, and its exponential is not
    with pytest.raises(UserError, match="sample c has no finite score"):
        predictor.score(strain, ["a", "b", "c"])


def test_strain_of_another_loudness_is_said_to_be_so(
    run: Path, new_samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """White noise of 1e-20 is far louder than detectors' noise at most frequencies."""
    score(run, tmp_path / "white.csv", "--data", str(new_samples))
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if "the whitened strain" in line
    ]
    assert "times the standard deviation that the run expects" in line
    rng, detectors = np.random.default_rng(0), COMPETITION.detectors
    noise = [[make_design_noise(name, 4096, rng) for name in detectors] for _ in range(3)]
    np.save(tmp_path / "noise.npy", np.array(noise) * 1e-21)
    score(run, tmp_path / "noise.csv", "--data", str(tmp_path / "noise.npy"))
    assert "the whitened strain" not in capsys.readouterr().out


def test_finished_scores_are_kept(
    run: Path, new_samples: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "scores.csv"
    score(run, out, "--data", str(new_samples))
    before = out.read_bytes()
    score(run, out, "--data", str(new_samples))
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds other scores \\(other samples and strain\\)"):
        score(run, out, "--data", str(data))
    with pytest.raises(UserError, match="other views"):
        score(run, out, "--data", str(new_samples), "--tta")
    assert out.read_bytes() == before
    score(run, out, "--data", str(data), "--overwrite")
    (aside,) = tmp_path.glob("scores.2*.csv")
    assert aside.read_bytes() == before
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("mine\n")
    with pytest.raises(UserError, match="has no record of what it is of"):
        score(run, foreign, "--data", str(new_samples))
    assert foreign.read_text() == "mine\n"


def test_unfinished_folds_are_refused(run: Path, new_samples: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(run, tmp_path / "demo")
    state = json.loads((copied / "fold1.json").read_text())
    (copied / "fold1.json").write_text(json.dumps({**state, "finished": False}))
    words = ["--data", str(new_samples)]
    with pytest.raises(UserError, match="--allow_unfinished"):
        score(copied, tmp_path / "scores.csv", *words)
    assert not (tmp_path / "scores.csv").exists()
    assert len(score(copied, tmp_path / "scores.csv", *words, "--allow_unfinished")) == 24


def bad_data(folder: Path, new_samples: Path) -> dict[str, tuple[list[str], str]]:
    """What --data may not be, by name, and what is said of it."""
    first = next(new_samples.glob("*.npy"))
    np.save(folder / "short.npy", np.zeros((2, 3, 1000)))
    np.save(folder / "text.npy", np.array(["a"]))
    (folder / "cut.npy").write_bytes(first.read_bytes()[:5000])
    (folder / "nopath.csv").write_text("id\na\n")
    (folder / "gone.csv").write_text("id,path\na,gone.npy\n")
    (folder / "notes.txt").write_text("x\n")
    (folder / "broken.f32").write_bytes(b"x" * 100)
    (folder / "empty").mkdir()
    (folder / "again").mkdir()
    shutil.copy(first, folder / "again")
    return {
        "nothing": ([str(folder / "absent")], "there is no such file or folder"),
        "shape": ([str(folder / "short.npy")], r"expected float \(n, 3, 4096\)"),
        "text": ([str(folder / "text.npy")], r"expected float \(n, 3, 4096\)"),
        "cut": ([str(folder / "cut.npy")], "cut.npy"),
        "no path": ([str(folder / "nopath.csv")], "has no column 'path'"),
        "missing file": ([str(folder / "gone.csv")], "gone.npy does not exist"),
        "ending": ([str(folder / "notes.txt")], "expected a table"),
        "cache": ([str(folder / "broken.f32")], "is not a strain cache"),
        "no files": ([str(folder / "empty")], "there are no .npy files"),
        "several kinds": ([str(first), str(folder / "nopath.csv")], "several words are .npy files"),
        "twice": ([str(first), str(folder / "again" / first.name)], "two files are called"),
    }


def test_bad_data_is_one_sentence(run: Path, new_samples: Path, tmp_path: Path) -> None:
    for name, (words, message) in bad_data(tmp_path, new_samples).items():
        with pytest.raises(UserError, match=message):
            score(run, tmp_path / "out.csv", "--data", *words)
        assert not (tmp_path / "out.csv").exists(), name
    for words, message in (
        (["--run", str(tmp_path), "--data", str(new_samples)], "holds no config.json"),
        (["--data", str(new_samples)], "give one of --run"),
        (["--run", str(run), "--data", str(new_samples), "--batch_size", "0"], "expected 1 or"),
    ):
        with pytest.raises(UserError, match=message):
            predict.main([*words, "--out", str(tmp_path / "out.csv")])
    for out, message in (("out.txt", "expected a file that ends in"), ("empty.csv", "is a folder")):
        (tmp_path / "empty.csv").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=message):
            score(run, tmp_path / out, "--data", str(new_samples))


def test_the_command_itself(run: Path, new_samples: Path, tmp_path: Path) -> None:
    """By the experiment's name, from another folder, twice; and its exit code."""
    line = [sys.executable, str(ROOT / "predict.py"), "--config", "Demo"]
    line += ["--results", str(run.parent), "--data", str(new_samples), "--out", "scores.csv"]
    for what in ("24 samples of", "nothing to do"):
        done = subprocess.run(
            line,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert what in done.stdout
    done = subprocess.run([*line[:-1], "scores.txt"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
