"""Folds by target, by group and by a column, against scikit-learn's own."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.model_selection
import small_run

import configs
import train
from configuration.overrides import override
from experiments.experiment import Experiment
from experiments.folds import fold_of_rows, mention_unused_columns, split_folds
from experiments.run_options import RunOptions
from runtime.errors import UserError


@pytest.fixture
def table(rng: np.random.Generator) -> pd.DataFrame:
    """120 samples of 20 groups, as `load_index` returns them: all but the target are text."""
    return pd.DataFrame(
        {
            "id": [f"s{k}" for k in range(120)],
            "target": rng.permutation(np.arange(120) % 2).astype(float),
            "group": [f"run{k}" for k in rng.integers(0, 20, 120)],
            "fold": (np.arange(120) % 4).astype(str),
        }
    )


def config(*words: str):
    return override(configs.Demo, ["cv=4", *words])


@pytest.mark.parametrize("name", ["GroupKFold", "StratifiedGroupKFold"])
def test_groups_stay_together_as_scikit_learn_splits_them(name: str, table: pd.DataFrame) -> None:
    folds = split_folds(config(f"splitter={name}"), table)
    cls = getattr(sklearn.model_selection, name)
    reference = cls(4, shuffle=True, random_state=2021)
    targets, groups = table["target"], table["group"]
    for found, wanted in zip(folds, reference.split(targets, targets, groups), strict=True):
        np.testing.assert_array_equal(found[1], wanted[1])
    of_row = pd.Series(fold_of_rows(folds, len(table)))
    assert (of_row.groupby(groups.to_numpy()).nunique() == 1).all()


def test_another_column_names_the_groups(table: pd.DataFrame) -> None:
    renamed = table.rename(columns={"group": "month"})
    words = ["splitter=GroupKFold", "splitter_params={'column': 'month'}"]
    found = split_folds(config(*words), renamed)
    plain = split_folds(config("splitter=GroupKFold", "splitter_params={}"), table)
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one[1], other[1])


def test_the_table_names_the_folds(table: pd.DataFrame) -> None:
    folds = split_folds(config("splitter=PredefinedSplit"), table)
    np.testing.assert_array_equal(fold_of_rows(folds, 120), np.arange(120) % 4)


BAD = {
    "no column": ("splitter=GroupKFold", {"group": None}, "reads the column 'group', and"),
    "empty group": ("splitter=GroupKFold", {"group": ""}, "row 2: the group is empty"),
    "few groups": ("splitter=GroupKFold", {"group": "a"}, "has 1 different values of 'group'"),
    "no fold": ("splitter=PredefinedSplit", {"fold": None}, "reads the column 'fold'"),
    "a fold too many": ("splitter=PredefinedSplit", {"fold": "4"}, "the fold is '4', expected 0"),
    "no number": ("splitter=PredefinedSplit", {"fold": "x"}, "the fold is 'x', expected 0 to 3"),
    "one fold": ("splitter=PredefinedSplit", {"fold": "0"}, "no sample is in fold 1, and cv = 4"),
    "misspelt": ("splitter=GroupKFolds", {}, "did you mean 'GroupKFold'"),
}


@pytest.mark.parametrize("case", BAD)
def test_tables_that_do_not_fit_their_splitter(case: str, table: pd.DataFrame) -> None:
    word, changes, message = BAD[case]
    for column, value in changes.items():
        table = table.drop(columns=column) if value is None else table.assign(**{column: value})
    with pytest.raises(UserError, match=message):
        split_folds(config(word), table)


def test_groups_of_one_class(table: pd.DataFrame) -> None:
    """Grouped by target: the message names the splitter that would spread the classes."""
    groups = table["target"].astype(int).astype(str) + np.where(np.arange(120) % 2, "a", "b")
    with pytest.raises(UserError, match="use --set splitter=StratifiedGroupKFold"):
        split_folds(config("splitter=GroupKFold"), table.assign(group=groups))


def test_columns_that_nothing_reads_are_mentioned(
    table: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        mention_unused_columns(config(), table)
    assert [record.message.count("--set splitter=") for record in caplog.records] == [1, 1]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        mention_unused_columns(config("splitter=GroupKFold"), table.drop(columns="fold"))
    assert not caplog.records


def test_a_run_is_split_by_the_group_of_its_table(tmp_path: Path, capsys) -> None:
    """Through the command line: 15 groups of four samples, none in two folds; --show refuses."""
    data = small_run.make_data(tmp_path / "input")
    table = pd.read_csv(data / "train.csv", dtype=str)
    table["group"] = [f"g{k // 4}" for k in range(len(table))]
    table.to_csv(data / "train.csv", index=False)
    settings = ("splitter=StratifiedGroupKFold", "num_epochs=1")
    small_run.run_here(data, tmp_path / "results", "--num_workers", "0", settings=settings)
    folds = pd.Series(np.load(tmp_path / "results" / "demo" / "folds.npy"))
    assert (folds.groupby(table["group"].to_numpy()).nunique() == 1).all()
    assert folds.nunique() == 2
    show = ["--config", "Demo", "--show", "--set", f"train_path={data / 'train.csv'}"]
    assert train.main([*show, "splitter=GroupKFold"]) == 0
    for word, message in (
        ("splitter=PredefinedSplit", "reads the column 'fold'"),
        ("splitter=GroupKFolds", "did you mean 'GroupKFold'"),
    ):
        with pytest.raises(UserError, match=message):
            train.main([*show, word])


def test_another_split_is_another_run(tmp_path: Path) -> None:
    data = small_run.make_data(tmp_path / "input", n_train=24, n_test=4)
    words = [*small_run.SMALL, f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    options = RunOptions(results=str(tmp_path), resume=True)
    first = Experiment(override(configs.Demo, words), options, "cpu")
    other = Experiment(override(configs.Demo, [*words, "splitter=KFold"]), options, "cpu")
    assert (first.directory.samples.folds != other.directory.samples.folds).any()
