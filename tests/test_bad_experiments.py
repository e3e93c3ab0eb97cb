"""Mistakes in own experiments and their tables: one sentence on stderr, exit code 2, no ruins."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from command_here import run_main
from small_run import SMALL, make_data

import stacking
import train

TRAIN = functools.partial(train.main)
PSEUDO = functools.partial(train.main, pseudo=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with tables that have further columns, right and wrong."""
    place = tmp_path_factory.mktemp("place")
    data = make_data(place / "input", n_train=32, n_test=6)
    table = pd.read_csv(data / "train.csv", dtype=str)
    table["time"] = [str(1126259462 + k) for k in range(len(table))]
    table["few"] = [f"g{k % 2}" for k in range(len(table))]
    table["name"] = [f"word{k}" for k in range(len(table))]
    table["one"] = "0"
    for column, value in (("minus", "-1"), ("nan", "nan"), ("blank", ""), ("word", "much")):
        table[column] = ["1"] * 9 + [value] + ["1"] * (len(table) - 10)
    table.to_csv(data / "train.csv", index=False)
    return place


def on(*settings: str, config: str = "Demo") -> list[str]:
    """Arguments of a small run on that table."""
    paths = ["train_path=input/train.csv", "test_path=input/test.csv"]
    return ["--config", config, "--set", *SMALL, "num_epochs=1", *paths, *settings]


HOLD_OUT = ("splitter=HoldOut", "cv=1")
BY_TIME = ("splitter=TimeSplit", "cv=1")

CASES: dict[str, tuple[Callable, list[str], str]] = {
    # --- groups, folds, times ---
    "group without the column": (
        TRAIN,
        on("splitter=StratifiedGroupKFold"),
        "reads the column 'group', and input/train.csv has only id, target, path, time, few",
    ),
    "column that is not there": (
        TRAIN,
        on("splitter=GroupKFold", "splitter_params.column=month"),
        "reads the column 'month'",
    ),
    "fewer groups than folds": (
        TRAIN,
        on("splitter=GroupKFold", "splitter_params.column=few", "cv=3"),
        "has 2 different values of 'few', too few for 3 folds: --set cv=2",
    ),
    "group that is empty": (
        TRAIN,
        on("splitter=GroupKFold", "splitter_params.column=blank"),
        "row 11: the blank is empty: fill it in",
    ),
    "fold without the column": (TRAIN, on("splitter=PredefinedSplit"), "reads the column 'fold'"),
    "one fold of a column": (
        TRAIN,
        on("splitter=PredefinedSplit", "splitter_params.column=one"),
        "no sample is in one 1, and cv = 2",
    ),
    "hold-out in folds": (TRAIN, on("splitter=HoldOut"), "add --set cv=1"),
    "hold-out of all": (TRAIN, on(*HOLD_OUT, "splitter_params.fraction=1.0"), "between 0 and 1"),
    "hold-out of nothing": (
        TRAIN,
        on(*HOLD_OUT, "splitter_params.fraction=0.0001"),
        "splitter = 'HoldOut' on input/train.csv",
    ),
    "argument of a hold-out": (
        TRAIN,
        on(*HOLD_OUT, "splitter_params.frac=0.1"),
        "did you mean 'fraction'",
    ),
    "time that is a word": (
        TRAIN,
        on(*BY_TIME, "splitter_params.column=name"),
        "the name is 'word0', expected a number such as a GPS time",
    ),
    "time without the column": (
        TRAIN,
        on(*BY_TIME, "splitter_params.column=gps"),
        "reads the column 'gps'",
    ),
    "gap wider than the data": (
        TRAIN,
        on(*BY_TIME, "splitter_params.gap=100000"),
        "lower splitter_params.gap or cv",
    ),
    "gap below 0": (TRAIN, on(*BY_TIME, "splitter_params.gap=-5"), "expected a number of 0 or"),
    # --- all data ---
    "schedule that waits for validation": (
        TRAIN,
        on("cv=1", "scheduler=ReduceLROnPlateau", "scheduler_target=valid_loss"),
        "no sample is validated",
    ),
    "second fold of one": (TRAIN, [*on("cv=1"), "--limit_fold", "1"], "has folds 0 to 0"),
    # --- a part of the samples ---
    "more samples than there are": (
        TRAIN,
        [*on(), "--limit_samples", "100"],
        "has 32 samples, so expected 2 to 32",
    ),
    "one sample": (TRAIN, [*on(), "--limit_samples", "1"], "so expected 2 to 32"),
    "too few samples for the folds": (
        TRAIN,
        [*on("cv=5"), "--limit_samples", "6"],
        "too few for 5 folds",
    ),
    # --- weights and covariates ---
    "weights without the column": (TRAIN, on("weight_column=wieght"), "weight_column = 'wieght'"),
    "weight below 0": (TRAIN, on("weight_column=minus"), "'-1', expected a number of 0 or more"),
    "weight that is NaN": (TRAIN, on("weight_column=nan"), "'nan', expected a number"),
    "weight that is empty": (TRAIN, on("weight_column=blank"), "'', expected a number"),
    "weight that is a word": (TRAIN, on("weight_column=word"), "'much', expected a number"),
    "weights that are all 0": (TRAIN, on("weight_column=one"), "every one is 0"),
    "weights of drawn samples": (
        TRAIN,
        on("weight_column=time", config="Wave01"),
        "SimulatedDataset takes no weights of the table's samples",
    ),
    "covariate that is not there": (TRAIN, on("covariates=[monht]"), "no column 'monht'"),
    "covariate of too many words": (TRAIN, on("covariates=[name]"), "name a coarser column"),
    "covariate that is no name": (TRAIN, on("covariates=[1]"), "covariates holds 1"),
    # --- seeds ---
    "seed twice": (TRAIN, on("seeds=[1,1]"), "1 is there twice"),
    "seed that is a word": (TRAIN, on("seeds=[one]"), "seeds holds 'one'"),
    "seed below 0": (TRAIN, on("seeds=[-1,0]"), "seeds holds -1"),
    "seed that is not of the run": (
        TRAIN,
        [*on("seeds=[0,1]"), "--limit_seed", "2"],
        "has the seeds 0, 1",
    ),
    "seed of a run without any": (
        TRAIN,
        [*on(), "--limit_seed", "0"],
        "has no seeds: add --set seeds=[0,1,2]",
    ),
    "predictions without weights": (
        TRAIN,
        [*on("seeds=[0,1]"), "--inference"],
        "seed0/fold0.pt does not exist",
    ),
    "labels of a source without predictions": (
        PSEUDO,
        on("seeds=[0,1]", config="PseudoDemo"),
        "has no predictions to take pseudo-labels from",
    ),
    "stack of nothing": (stacking.main, [], "holds no run with outoffolds.npy"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_sentence(case: str, place: Path, tmp_path: Path, monkeypatch) -> None:
    main, arguments, message = CASES[case]
    monkeypatch.chdir(place)
    results = tmp_path / "results"
    results.mkdir()
    done = run_main(main, [*arguments, "--results", results])
    assert done.returncode == 2, done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert message in errors[0]
    # nothing that a later start would mistake for a run
    assert not list(results.rglob("*.pt")) + list(results.rglob("config.json"))
