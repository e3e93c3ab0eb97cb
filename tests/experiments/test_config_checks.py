"""`train.py --show` refuses what a training would refuse, after it has shown the settings."""

from __future__ import annotations

import pytest
from command_here import run_main
from small_run import SMALL, make_data

import train
from configs import Demo, Mdc1, Nspec16, Wave07
from experiments.config_checks import check_config


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    data = make_data(tmp_path_factory.mktemp("checks") / "input", 8, 2)
    tables = [f"{split}_path={data / f'{split}.csv'}" for split in ("train", "test")]
    return [*SMALL, *tables]


@pytest.mark.parametrize(
    "wrong",
    [
        "batch_size=0",
        "num_epochs=0",
        "name=dry_run",
        "tracker=tensorbord",
        "clip_grad=values",
        "max_bad_losses=0",
        "amp=bf17",
        "optimizer_params.lr=-1",
        "scheduler_params.T_mult=0",
        "warmup_epochs=-1",
        "callbacks.0.target=valid_los",
        "scheduler_target=valid_los",
        "transforms.train.3.max_shift=-1",
        "model_params.pooling=men",
        "eval_metric=RootMeanSquaredError",
    ],
)
def test_show_and_training_refuse_the_same(wrong: str, words: list[str], tmp_path) -> None:
    line = ["--config", "Demo", "--results", tmp_path, "--silent", "--set", *words, wrong]
    shown = run_main(train.main, [*line, "--show"])
    assert shown.returncode == 2, shown.stdout
    assert shown.stderr.count("\n") == 1
    assert "batch_size = " in shown.stdout  # the settings come first
    trained = run_main(train.main, line)
    assert trained.returncode == 2
    assert not list(tmp_path.rglob("*.pt"))
    assert shown.stderr == trained.stderr


def test_good_experiments_are_shown(words: list[str]) -> None:
    done = run_main(train.main, ["--config", "Demo", "--set", *words, "--show"])
    assert done.returncode == 0, done.stderr
    for config in (Demo, Wave07, Mdc1):  # no bank of templates is computed for it
        check_config(config)


def test_a_wrong_argument_of_a_front_end_is_found_without_data() -> None:
    line = ["--config", "Nspec16", "--set", "model_params.spec_params.upper_freq=2000", "--show"]
    done = run_main(train.main, line)
    assert done.returncode == 2
    assert "a wavelet transform from 16 to 2000" in done.stderr
    assert Nspec16.model_params["spec_params"]["upper_freq"] == 1024
