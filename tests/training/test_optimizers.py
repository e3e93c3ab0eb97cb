"""Every optimiser that a config can name: it learns, and resumes as if it had never stopped."""

from __future__ import annotations

import re

import pytest
import timm.optim
import torch
from paths import ROOT
from torch import nn
from toy import Toy, make_trainer

from configs import Demo
from configuration.config_class import find_config
from configuration.overrides import override
from experiments.building import build_optimizer, build_scheduler
from experiments.classes_by_name import find_class_choices
from runtime.errors import UserError
from training.optimizers import optimizer_classes

PAGE = ROOT / "docs" / "how-to" / "optimisers.md"
DATA = (Toy(64), Toy(20, seed=1))
CPU = torch.device("cpu")


def test_those_of_torch_and_of_timm_are_there_and_torch_comes_first() -> None:
    classes = optimizer_classes()
    assert classes["AdamW"] is torch.optim.AdamW
    assert classes["Lamb"] is timm.optim.Lamb
    assert classes["Lion"] is timm.optim.Lion
    assert not {"Lookahead", "Optimizer"} & classes.keys()
    if hasattr(timm.optim, "Muon"):
        assert classes["Muon"] is timm.optim.Muon


LINES = re.findall(r"--config (\w+) --set (.+)", PAGE.read_text())


@pytest.mark.parametrize(("name", "settings"), LINES, ids=lambda text: text)
def test_the_lines_of_the_page_are_settings_that_exist(name: str, settings: str) -> None:
    if "optimizer=Muon" in settings and not hasattr(timm.optim, "Muon"):
        pytest.skip("this timm has no Muon")
    config = override(find_config(name), settings.split())
    optimizer = build_optimizer(config, small_network(), CPU)
    build_scheduler(config, optimizer, 10)
    for key in ("freeze", "checkpoint_average", "parameter_groups", "lookahead"):
        part = getattr(config, key)
        assert part is None or part.build()


def test_muon_of_older_packages_says_what_to_install(monkeypatch, request) -> None:
    monkeypatch.delattr(timm.optim, "Muon", raising=False)
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    find_class_choices.cache_clear()
    request.addfinalizer(find_class_choices.cache_clear)
    with pytest.raises(UserError, match=r"neither this timm .*pip install --upgrade timm"):
        override(Demo, ["optimizer=Muon"])


def small_network() -> nn.Module:
    """Return a network with a kernel, a matrix and vectors: what optimisers treat differently."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv1d(3, 6, 3), nn.SiLU(), nn.Flatten(), nn.Linear(36, 1))


def make(folder, settings: list[str], num_epochs: int):
    model = small_network()
    config = override(Demo, ["optimizer_params.lr=1e-3", *settings])
    optimizer = build_optimizer(config, model, CPU)
    return make_trainer(
        folder, model=model, optimizer=optimizer, scheduler=None, num_epochs=num_epochs
    )


@pytest.mark.parametrize(
    "settings",
    [
        ["optimizer=Lamb"],
        ["optimizer=Lion"],
        ["optimizer=AdaBelief"],
        ["optimizer=Muon"],
        ["lookahead=Lookahead", "lookahead.k=3"],
        [
            "optimizer=AdamW",
            "lookahead=Lookahead",
            "parameter_groups=ParameterGroups",
            "parameter_groups.head=3.0",
            "parameter_groups.layer_decay=0.5",
        ],
    ],
    ids=lambda settings: settings[0] + str(len(settings)),
)
def test_it_resumes_bit_for_bit(tmp_path, settings: list[str]) -> None:
    if settings == ["optimizer=Muon"] and not hasattr(timm.optim, "Muon"):
        pytest.skip("this timm has no Muon")
    whole = make(tmp_path / "whole", settings, 3)
    before = {name: value.clone() for name, value in whole.model.state_dict().items()}
    whole.fit(*DATA)
    make(tmp_path / "parts", settings, 1).fit(*DATA)
    resumed = make(tmp_path / "parts", settings, 3)
    assert resumed.resume()
    resumed.fit(*DATA)
    for name, value in whole.model.state_dict().items():
        assert not torch.equal(value, before[name]), name  # it has learnt
        assert torch.equal(value, resumed.model.state_dict()[name]), name
