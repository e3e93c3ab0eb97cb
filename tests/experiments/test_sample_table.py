"""A part of the samples, weights and covariates: columns of the table that a config names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_here import run_main
from small_run import make_data, run_here

import configs
import report
import train
from configuration.json_types import to_plain
from configuration.overrides import override
from experiments.fold_record import read_fold
from experiments.run_identity import deciding_settings, labelled_samples_digest
from experiments.sample_table import limit_rows, read_covariate, read_weights
from runtime.errors import UserError


@pytest.fixture
def table(rng: np.random.Generator) -> pd.DataFrame:
    targets = rng.permutation(np.arange(200) % 4 == 0).astype(float)
    return pd.DataFrame(
        {"id": [f"s{k}" for k in range(200)], "target": targets, "trust": rng.uniform(0, 2, 200)}
    ).astype({"trust": str})


def config(*words: str):
    return override(configs.Demo, words)


def test_a_part_has_the_share_of_each_class(table: pd.DataFrame) -> None:
    few, more = (limit_rows(config(f"limit_samples={n}"), table) for n in (40, 80))
    assert (len(few), few["target"].sum()) == (40, 10)
    assert set(few["id"]) <= set(more["id"])  # of a larger part it is a part
    assert few["id"].tolist() == [name for name in table["id"] if name in set(few["id"])]
    shuffled = table.sample(frac=1, random_state=0)
    assert set(limit_rows(config("limit_samples=40"), shuffled)["id"]) == set(few["id"])
    assert limit_rows(config(), table) is table
    assert limit_rows(config("limit_samples=2"), table)["target"].sum() == 1
    for count in (1, 201):
        with pytest.raises(UserError, match="has 200 samples, so expected 2 to 200"):
            limit_rows(config(f"limit_samples={count}"), table)


def test_weights_have_a_mean_of_one(table: pd.DataFrame) -> None:
    weights = read_weights(config("weight_column=trust"), table)
    trust = table["trust"].astype(float)
    np.testing.assert_allclose(weights, trust / trust.mean(), rtol=1e-12)
    assert read_weights(config(), table) is None


BAD = {
    "no column": (("weight_column=truts",), None, "did you mean 'trust'"),
    "negative": (("weight_column=trust",), "-1", "the trust of 's3' is '-1', expected a number of"),
    "NaN": (("weight_column=trust",), "nan", "the trust of 's3' is 'nan'"),
    "empty": (("weight_column=trust",), "", "the trust of 's3' is ''"),
    "infinite": (("weight_column=trust",), "inf", "the trust of 's3' is 'inf'"),
    "all zero": (("weight_column=nothing",), None, "every nothing is 0"),
    "drawn samples": (
        ("weight_column=trust", "dataset=SimulatedDataset"),
        None,
        "SimulatedDataset takes no weights",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_weights_that_cannot_be_used(case: str, table: pd.DataFrame) -> None:
    words, value, message = BAD[case]
    table = table.assign(nothing="0")
    if value is not None:
        table.loc[3, "trust"] = value
    with pytest.raises(UserError) as error:
        read_weights(config(*words), table)
    assert message in str(error.value)


def test_defaults_leave_digests_as_they_were(table: pd.DataFrame) -> None:
    settings = deciding_settings(to_plain(config()))
    assert not {"limit_samples", "weight_column", "covariates"} & settings.keys()
    chosen = config("limit_samples=40", "weight_column=trust", "covariates=['trust']")
    changed = deciding_settings(to_plain(chosen))
    assert {key: changed[key] for key in changed.keys() - settings.keys()} == {
        "limit_samples": 40,
        "weight_column": "trust",
    }
    ids, targets, folds = table["id"].to_numpy(str), table["target"].to_numpy(), np.zeros(200, int)
    plain = labelled_samples_digest(ids, targets, folds)
    assert plain == labelled_samples_digest(ids, targets, folds, None)
    assert plain != labelled_samples_digest(ids, targets, folds, np.ones(200))


def test_covariates_are_also_found_in_the_parameters(table: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    (tmp_path / "parameters.csv").write_text("id,network_snr\ns1,9.5\nother,3\n")
    assert read_covariate(path, "trust", table)[0] == table["trust"][0]
    snr = read_covariate(path, "network_snr", table)
    assert snr[1] == "9.5"
    assert set(np.delete(snr, 1)) == {""}
    with pytest.raises(UserError, match="did you mean 'network_snr'"):
        read_covariate(path, "network_nsr", table)


# --- the command line ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Samples with a month, and with a weight that only half of them have."""
    folder = make_data(tmp_path_factory.mktemp("data") / "input", n_train=48, n_test=8)
    table = pd.read_csv(folder / "train.csv", dtype=str)
    table["month"] = [str(4 + k // 2 % 2) for k in range(len(table))]
    table["trust"] = [str(k % 2) for k in range(len(table))]
    table.to_csv(folder / "train.csv", index=False)
    return folder


def test_a_run_on_a_part_with_weights_is_broken_down(data: Path, tmp_path: Path) -> None:
    settings = ("weight_column=trust", "covariates=[month]", "num_epochs=1")
    done = run_here(data, tmp_path, "--limit_samples", "32", settings=settings)
    run = tmp_path / "demo"
    assert "AUC by month: 4: 0." in done.stdout
    assert len(np.load(run / "ids_train.npy")) == 32
    rows = json.loads((run / "summary.json").read_text())["breakdown"]["month"]
    assert [row["label"] for row in rows] == ["4", "5"]
    assert sum(row["n"] for row in rows) == 32
    # another covariate is no other run, another part or other weights are
    again = ("weight_column=trust", "num_epochs=1")
    run_here(data, tmp_path, "--limit_samples", "32", "--resume", settings=again)
    for words, extra, message in (
        (again, ("--limit_samples", "40"), "differs from this run in limit_samples"),
        (("num_epochs=1",), ("--limit_samples", "32"), "differs from this run in weight_column"),
    ):
        done = run_here(data, tmp_path, *extra, "--resume", settings=words, code=2)
        assert message in done.stderr
    text = (data / "train.csv").read_text()
    try:
        (data / "train.csv").write_text(text.replace(",4,1\n", ",4,3\n"))
        line = ("--limit_samples", "32", "--resume")
        done = run_here(data, tmp_path, *line, settings=again, code=2)
        assert "or with other weights, than the training table gives now" in done.stderr
    finally:
        (data / "train.csv").write_text(text)
    run_here(data, tmp_path, "--limit_samples", "32", "--inference", settings=settings)
    assert run_main(report.main, ["--results", tmp_path]).returncode == 0
    page = (tmp_path / "index.html").read_text()
    assert "Score by month" in page


def test_equal_weights_change_nothing_and_others_do(data: Path, tmp_path: Path) -> None:
    table = pd.read_csv(data / "train.csv", dtype=str)
    table["alike"] = "2.0"
    table["path"] = [str(data / name) for name in table["path"]]
    table.to_csv(tmp_path / "train.csv", index=False)
    settings = [f"train_path={tmp_path / 'train.csv'}", f"data_root={data}", "num_epochs=1"]
    for name, words in (
        ("plain", []),
        ("alike", ["weight_column=alike"]),
        ("trust", ["weight_column=trust"]),
    ):
        run_here(data, tmp_path, "--limit_fold", "0", settings=(*settings, *words, f"name={name}"))
    plain, alike, trust = (
        read_fold(tmp_path / name / "fold0.pt") for name in ("plain", "alike", "trust")
    )
    assert plain.digest == alike.digest != trust.digest
    scores = [record.state["history"][0]["train_loss"] for record in (plain, alike, trust)]
    assert scores[0] == scores[1] != scores[2]


def test_show_refuses_columns_that_are_not_there(data: Path, capsys) -> None:
    show = ["--config", "Demo", "--show", "--set", f"train_path={data / 'train.csv'}"]
    assert train.main([*show, "weight_column=trust", "covariates=[month]"]) == 0
    for word, message in (
        ("weight_column=turst", "did you mean 'trust'"),
        ("covariates=[week]", "there is no column 'week'"),
        ("limit_samples=1000", "has 48 samples"),
    ):
        with pytest.raises(UserError, match=message):
            train.main([*show, word])
