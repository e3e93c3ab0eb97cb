"""Frozen parts stay as they are, with their statistics, until their epochs are over."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy import Toy, make_trainer

from runtime.errors import UserError
from training.freezing import Freeze

DATA = (Toy(64), Toy(20, seed=1))


class Net(nn.Module):
    """A backbone with a batch norm, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(24, 8), nn.BatchNorm1d(8))
        self.head = nn.Linear(8, 1)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def make(folder, num_epochs: int = 3, **options):
    torch.manual_seed(3)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    return make_trainer(
        folder,
        model=model,
        optimizer=optimizer,
        scheduler=None,
        freeze=Freeze(("backbone",), epochs=2),
        num_epochs=num_epochs,
        **options,
    )


def assert_only_the_head_moved(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("body."), name


def test_a_frozen_backbone_waits_for_its_epoch(tmp_path) -> None:
    trainer = make(tmp_path, num_epochs=2)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.fit(*DATA)
    assert_only_the_head_moved(trainer.model, before)


def test_with_several_processes_gradients_are_dropped_instead(tmp_path, monkeypatch) -> None:
    trainer = make(tmp_path, num_epochs=2)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    # DDP wants the gradients of all weights, so that none is switched off.
    monkeypatch.setattr(nn.Parameter, "requires_grad_", lambda self, *_: self, raising=False)
    trainer.fit(*DATA)
    assert trainer.model.body[1].weight.requires_grad
    assert_only_the_head_moved(trainer.model, before)


def test_it_learns_afterwards_also_when_resumed(tmp_path) -> None:
    whole = make(tmp_path / "whole")
    before = whole.model.body[1].weight.clone()
    whole.fit(*DATA)
    assert not torch.equal(whole.model.body[1].weight, before)
    make(tmp_path / "parts", num_epochs=1).fit(*DATA)
    resumed = make(tmp_path / "parts")
    assert resumed.resume()
    resumed.fit(*DATA)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parts": ("backbon",)}, "no part 'backbon' .did you mean 'backbone'"),
        ({"parts": ()}, "name at least one part"),
        ({"epochs": 0}, "name at least one part and one epoch"),
    ],
)
def test_what_cannot_be_frozen_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Freeze(**arguments)


@pytest.mark.parametrize(
    ("parts", "message"),
    [(("front_end",), "Net has no front_end"), (("backbone", "head"), "is all of Net")],
)
def test_the_network_must_have_the_parts(parts: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Freeze(parts).check(Net())
