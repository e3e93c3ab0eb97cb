"""Configurations: misspelling, sharing and changing are errors."""

import json

import pytest
from small_config import Root, child

from configuration.config_class import ConfigMeta, find_config
from configuration.json_types import to_plain
from runtime.errors import UserError


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


def test_the_root_is_the_class_without_a_parent() -> None:
    grandchild = ConfigMeta("Grandchild", (child(epochs=5),), {}, register=False)
    assert grandchild.root() is child().root() is Root.root() is Root
    assert grandchild.fields() == list(Root.__annotations__)


def test_names_of_the_rules_themselves_are_no_settings() -> None:
    with pytest.raises(UserError, match="no setting 'fields'"):
        child(fields=3)
