"""Samples without a finite score, in words; and a run that has some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_run import make_data, run_here

from experiments.unscored_samples import are_unscored, explain_unscored, find_unscored


def test_one_bad_number_of_any_fold_or_output_counts() -> None:
    plain = np.zeros((2, 4))
    plain[1, 2] = np.inf
    assert are_unscored(plain).tolist() == [False, False, True, False]
    several = np.zeros((2, 4, 3))
    several[0, 1, 2] = np.nan
    assert are_unscored(several).tolist() == [False, True, False, False]


def test_only_some_are_named() -> None:
    assert explain_unscored(["a"]).startswith("sample a has no finite score, likely whitened")
    said = explain_unscored([f"s{k}" for k in range(9)])
    assert said.startswith("samples s0, s1, s2, s3, s4 and 4 more have no finite score")


def test_rows_of_training_and_test_are_found_and_folds_without_logits_left_out(
    tmp_path: Path,
) -> None:
    out_of_fold, of_test = np.zeros((6, 1), np.float32), np.zeros((3, 4, 1), np.float32)
    folds = np.array([0, 0, 1, 1, 2, 2])
    out_of_fold[[1, 4, 5]] = np.nan  # fold 2 was not predicted
    of_test[2] = np.nan
    of_test[1, 3] = np.inf
    for name, array in (("outoffolds", out_of_fold), ("predictions", of_test), ("folds", folds)):
        np.save(tmp_path / f"{name}.npy", array)
    train, test = [f"a{k}" for k in range(6)], [f"b{k}" for k in range(4)]
    assert find_unscored(tmp_path, "", train, test) == ["a1", "b3"]


def test_a_run_with_such_a_sample_keeps_its_files_and_names_it(tmp_path: Path) -> None:
    """The other samples are scored; each start says it again."""
    data = make_data(tmp_path / "input", 32, 8)
    np.save(data / "test0x5.npy", np.full((3, 4096), 1e37, np.float32))
    folder = tmp_path / "results" / "demo"
    for words in ((), ("--inference",)):
        settings = ("num_epochs=1",)
        done = run_here(data, tmp_path / "results", *words, settings=settings, code=2)
        assert done.stderr.startswith(f"error: {folder}: sample test0x5 has no finite score")
        assert done.stderr.count("\n") == 1
        assert "predict again with --inference --overwrite" in done.stderr
    scored = np.isfinite(np.load(folder / "predictions.npy")).all((0, 2))
    assert scored.tolist() == [row != 5 for row in range(8)]
    assert (folder / "summary.json").is_file()
