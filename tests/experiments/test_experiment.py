"""An experiment as an object: what a config can ask for beyond the plain way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SMALL, make_data
from torch import Tensor, nn

import configs
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.experiment import Experiment
from experiments.folds import split_folds
from experiments.run_options import RunOptions
from runtime.errors import UserError
from transforms import FlipWave, Scale


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "input")


def experiment(config: ConfigMeta, data: Path, results: Path, **options) -> Experiment:
    paths = [f"train_path={data / 'train.csv'}", f"test_path={data / 'test.csv'}"]
    caches = ["train_cache=none", "test_cache=none", "cv=2", "batch_size=16", "num_epochs=1"]
    config = override(config, [*paths, *caches])
    return Experiment(config, RunOptions(results=results, **options), torch.device("cpu"))


class TwoViews(nn.Module):
    """A network of two inputs, the second of which must be ten times the first."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        torch.testing.assert_close(second.abs(), 10 * first.abs())
        # (B, 3, T) twice -> (B, 6)
        return self.fc(torch.cat([first.std(-1), second.std(-1)], dim=1))


def test_transforms2_feed_a_network_of_two_inputs(data: Path, tmp_path: Path) -> None:
    settings = {
        "name": "two",
        "model": TwoViews,
        "model_params": {},
        "transforms": {
            "train": (Part(Scale, scale=1e20), Part(FlipWave)),
            "test": (Part(Scale, scale=1e20),),
        },
        "transforms2": {"train": (Part(Scale, scale=1e21),), "test": (Part(Scale, scale=1e21),)},
    }
    config = ConfigMeta("Two", (configs.Demo,), settings, register=False)
    run = experiment(config, data, tmp_path, tta=True)
    run.fit()
    run.predict()
    assert np.isfinite(np.load(tmp_path / "two" / "outoffolds_tta.npy")).all()


def test_one_input_is_not_enough_for_it(data: Path, tmp_path: Path) -> None:
    settings = {"name": "one", "model": TwoViews, "model_params": {}}
    config = ConfigMeta("One", (configs.Demo,), settings, register=False)
    with pytest.raises(TypeError, match="second"):
        experiment(config, data, tmp_path).fit()


def test_debug_keeps_the_first_rows_only(data: Path, tmp_path: Path, monkeypatch) -> None:
    import datasets

    table = datasets.load_index(data / "train.csv")
    many = table.loc[np.arange(12_000) % len(table)].reset_index(drop=True)
    monkeypatch.setattr(datasets, "load_index", lambda *arguments: many)
    config = override(configs.Demo, ["debug=true"])
    run = experiment(config, data, tmp_path)
    assert (len(run.train), len(run.test)) == (10_000, 1_000)


def test_folds_are_written_as_they_are_split(data: Path, tmp_path: Path) -> None:
    run = experiment(override(configs.Demo, SMALL), data, tmp_path)
    run.begin(run.plan_folds())
    folds = np.load(tmp_path / "demo" / "folds.npy")
    for fold, (train, valid) in enumerate(run.folds):
        assert (folds[valid] == fold).all()
        assert (folds[train] != fold).all()


def test_a_splitter_that_leaves_samples_out_is_refused(data: Path, tmp_path: Path) -> None:
    run = experiment(configs.Demo, data, tmp_path)
    config = override(run.config, ["splitter=StratifiedShuffleSplit"])
    plain = ConfigMeta("Shuffled", (config,), {"splitter_params": {}}, register=False)
    with pytest.raises(UserError, match="does not validate every sample once"):
        split_folds(plain, run.train)
