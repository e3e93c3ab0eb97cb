"""Configurations: misspelling, sharing and changing are errors; --set is checked and never run."""

import json
from collections.abc import Mapping

import pytest
import torch

from configuration.overrides import override
from configuration.parts import Part, thaw
from configuration.plain import to_plain
from configuration.rules import ConfigMeta, find_config
from runtime.errors import UserError


class Noise:
    def __init__(self, low: float = 1.0, high: float = 2.0) -> None:
        self.low, self.high = low, high


class Root(metaclass=ConfigMeta):
    name: str = "root"
    epochs: int = 3
    amp: bool | str = True
    path: str | None = None
    optimizer: type = torch.optim.Adam
    optimizer_params: Mapping = {"lr": 1e-3}
    steps: tuple = (Part(Noise, low=0.5),)
    inner: Mapping = {"a": {"b": [1, 2]}}


def child(**settings: object) -> ConfigMeta:
    return ConfigMeta("Child", (Root,), {"name": "child", **settings}, register=False)


def test_child_states_only_what_differs() -> None:
    assert child(epochs=5).to_plain() == Root.to_plain() | {
        "class": "Child",
        "name": "child",
        "epochs": 5,
    }


def test_plain_form_is_json() -> None:
    plain = to_plain(child())
    assert json.loads(json.dumps(plain)) == plain
    assert plain["steps"] == [{"class": "Noise", "low": 0.5}]
    assert plain["optimizer"] == "Adam"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 4}, "no setting 'epoch' (did you mean 'epochs'?)"),
        ({"epochs": 2.5}, "epochs = 2.5 is a float, expected int"),
        ({"epochs": True}, "expected int"),
        ({"amp": 3}, "expected bool or str"),
        ({"path": 3}, "expected str or None"),
        ({"optimizer_params": {"learning_rate": 1}}, "takes no argument 'learning_rate'"),
    ],
)
def test_definition_is_checked(settings: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        child(**settings)
    assert message in str(error.value)


def test_nothing_can_be_changed() -> None:
    config = child()
    with pytest.raises(UserError, match="is fixed"):
        config.epochs = 4
    with pytest.raises(TypeError):
        config.inner["a"] = 1
    with pytest.raises(TypeError):
        config.inner["a"]["c"] = 1
    assert isinstance(config.inner["a"]["b"], tuple)
    with pytest.raises(TypeError):
        config.steps[0].params["low"] = 2


def test_thawed_values_are_copies() -> None:
    free = thaw(Root.inner)
    free["a"]["c"] = 3
    assert "c" not in Root.inner["a"]


def test_part_builds_and_checks() -> None:
    first, second = Part(Noise, low=0.1).build(), Part(Noise, low=0.1).build(high=9.0)
    assert (first.low, first.high, second.high) == (0.1, 2.0, 9.0)
    assert first is not second
    with pytest.raises(UserError, match="did you mean 'low'"):
        Part(Noise, lo=0.1)


def test_registered_names_are_unique_and_own() -> None:
    class First(Root):
        name = "registered"

    assert find_config("First") is First
    with pytest.raises(UserError, match="belongs to First"):
        type(Root)("Second", (Root,), {"name": "registered"})
    with pytest.raises(UserError, match="`name` of its own"):
        type(Root)("Third", (Root,), {"epochs": 1})
    with pytest.raises(UserError, match="did you mean 'First'"):
        find_config("Firs")
    del ConfigMeta.registry["First"]


def test_override_sets_values_of_the_same_type() -> None:
    changed = override(
        Root,
        [
            "epochs=7",
            "steps.0.high=4",
            "inner.a.b.1=9",
            "name=2021",
            "amp=bf16",
            "path=x.pt",
            "optimizer_params.weight_decay=0.1",
        ],
    )
    assert (changed.epochs, changed.name, changed.amp, changed.path) == (7, "2021", "bf16", "x.pt")
    assert changed.steps[0].build().high == 4
    assert changed.steps[0].build().low == 0.5
    assert changed.inner["a"]["b"] == (1, 9)
    assert dict(changed.optimizer_params) == {"lr": 1e-3, "weight_decay": 0.1}
    assert Root.epochs == 3
    assert Root.inner["a"]["b"] == (1, 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "expected key=value"),
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=three", "expected int"),
        ("epochs=none", "expected int"),
        ("steps.0.hihg=1", "did you mean 'high'"),
        ("steps.4.high=1", "is not a position"),
        ("steps.0.low=loud", "expected float"),
        ("inner.a.c=1", "no key 'c'"),
        ("epochs.x=1", "nothing below"),
        ("optimizer=SGD", "a class is chosen in configs.py"),
        ("optimizer_params.momentum=1", "no key 'momentum'"),
        ("name=none", "expected str"),
    ],
)
def test_override_refuses(setting: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        override(Root, [setting])
    assert message in str(error.value)


def test_override_runs_no_code(tmp_path) -> None:
    target = tmp_path / "made"
    changed = override(Root, [f"path=__import__('pathlib').Path({str(target)!r}).touch()"])
    assert changed.path.startswith("__import__")
    assert not target.exists()
