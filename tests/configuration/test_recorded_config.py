"""An experiment back from the config.json of its run."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
from configuration.config_class import ConfigMeta
from configuration.config_references import load_config
from configuration.overrides import override
from configuration.recorded_config import read_recorded_config
from experiments.observation_record import plain_config
from experiments.settings import Config
from runtime.errors import UserError
from runtime.files import write_json

# Laws, glitches, two inputs, lists of front-ends, pseudo-labels and schedules among them.
EXAMPLES = ("Demo", "Nspec16", "Wave03", "Wave07", "Wave08", "Spec02", "Mdc1", "O4")


@pytest.mark.parametrize("name", sorted({*ConfigMeta.registry} - {"Config"}))
def test_every_experiment_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    config = ConfigMeta.registry[name]
    write_json(tmp_path / "config.json", config.to_plain())
    again = load_config(str(tmp_path / "config.json"))
    assert {key: getattr(again, key) for key in config.fields()} == {
        key: getattr(config, key) for key in config.fields()
    }
    assert again.reference == str(tmp_path / "config.json")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_experiment_whose_class_has_changed_since(name: str, tmp_path: Path) -> None:
    """All is read from the file where the class of that name says something else now."""
    path = tmp_path / "config.json"
    plain = plain_config(ConfigMeta.registry[name])
    write_json(path, plain)
    again = read_recorded_config(path, lambda _: Config)
    expected = {key: value for key, value in plain.items() if key not in ("class", "published")}
    found = plain_config(again)
    assert {key: found[key] for key in expected} == expected


def test_settings_of_the_command_line_are_part_of_it(tmp_path: Path) -> None:
    words = ["num_epochs=7", "transforms.train+=FlipWave", "criterion=RankLoss", "optimizer=SGD"]
    config = override(configs.Demo, words)
    write_json(tmp_path / "config.json", config.to_plain())
    again = load_config(str(tmp_path / "config.json"))
    assert again.num_epochs == 7
    assert again.transforms == config.transforms
    assert again.criterion == config.criterion
    assert again.optimizer is config.optimizer
    assert override(again, ["num_epochs=8"]).num_epochs == 8


def damage(plain: dict, key: str, value: object) -> dict:
    return {**plain, key: value}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("class", "Lost", "was resolved from Lost, which is not there"),
        ("epochs", 3, "there is no setting 'epochs' in this version"),
        ("num_epochs", "many", "num_epochs = 'many' is a str, expected int"),
        ("criterion", {"class": "LostLoss"}, "criterion names the class 'LostLoss'"),
        ("name", 7, "name"),
    ],
)
def test_files_that_describe_no_experiment(
    key: str, value: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    write_json(path, damage(configs.Demo.to_plain(), key, value))
    with pytest.raises(UserError) as error:
        load_config(str(path))
    assert message in str(error.value)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        load_config(str(path))
