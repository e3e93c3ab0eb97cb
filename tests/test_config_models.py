"""The network of every experiment: its published size, and a gradient for each of its weights."""

from __future__ import annotations

import pytest
import torch

import configs
from benchmarks.network_sizes import measured_experiments
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from experiments.building import build_model
from experiments.experiment_list import network_key, read_sizes
from models1d import template_choice
from physics.observation import Observation
from runtime.errors import UserError

# Trainable parameters as measured on the reference system. Where it counts parameters that took no
# part in anything, so many are gone here: the first batch norm of block 0 in ResNet1d.
UNUSED = {"Seq00": 2 * 64, "Seq02": 2 * 32, "Seq03": 2 * 128}
PUBLISHED = {
    "Baseline": 63_789_521,
    "Resized08aug4": 7_702_403,
    "Nspec12": 7_702_403,
    "Nspec12arch0": 18_094_849,
    "Nspec16": 8_422_917,
    "Nspec16spec13": 8_422_917,
    "Nspec16arch17": 65_098_707,
    "Nspec21": 18_467_147,
    "Nspec22": 9_622_532,
    "Nspec22aug1": 10_500_356,
    "Nspec22arch2": 43_993_818,
    "Nspec22arch6": 21_154_434,
    "Nspec22arch7": 55_592_182,
    "Nspec22arch10": 65_771_106,
    "Nspec22arch12": 119_968_098,
    "Nspec23": 8_443_268,
    "Nspec23arch3": 41_949_018,
    "Nspec23arch5": 53_547_382,
    "Nspec25": 16_706_564,
    "Nspec25arch1": 19_767_338,
    "Nspec30": 11_877_380,
    "Nspec30arch2": 44_680_410,
    "MultiInstance04": 6_720_905,
    "Seq00": 680_257,
    "Seq02": 340_129,
    "Seq03": 5_280_385,
    "Seq09": 5_531_649,
    "Seq12": 13_384_449,
    "Seq12arch4": 190_756_737,
}
# The smallest of each family, and of each backbone family; the others are for `make test-all`.
QUICK = (
    "Resized08aug4",
    "Nspec12",
    "Nspec16spec13",
    "Nspec22aug1",
    "Nspec23",
    "MultiInstance04",
    "Seq02",
    "Seq09",
    "Seq12",
)

# The networks of the project's own experiments, on whitened strain of 1,024 Hz.
OURS = (
    "Demo",
    "DemoSpec",
    "Wave01",
    "Wave04",
    "Wave05",
    "Wave06",
    "Wave07",
    "Wave09",
    "QuickDemo",
    "Mdc1",
    "Mdc1Glitches",
    "Mdc1ResNet",
    "Mdc3",
    "Mdc3ResNet",
    "O4",
    "O4ResNet",
    "Spec01",
    "Spec02",
)


def test_every_experiment_is_among_them() -> None:
    """Those left out have the network of one that is not."""
    covered = {network_key(getattr(configs, name)) for name in PUBLISHED}
    ours = {network_key(getattr(configs, name)) for name in OURS}
    for name in measured_experiments():  # not those that a reader adds
        assert network_key(ConfigMeta.registry[name]) in covered | ours, name


def test_sizes_in_the_table_are_the_published_ones() -> None:
    sizes = read_sizes()
    for name, published in PUBLISHED.items():
        found = sizes[network_key(getattr(configs, name))]["parameters"]
        assert found == published - UNUSED.get(name, 0), name


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in PUBLISHED]
)
def test_network(name: str) -> None:
    model = build_model(getattr(configs, name), pretrained=False).train()
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count == PUBLISHED[name] - UNUSED.get(name, 0)
    check_gradients(model, 4096)


@pytest.mark.parametrize("name", OURS)
def test_our_network(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is in the table; templates that are chosen are shipped, so that none is computed."""
    config = getattr(configs, name)
    key = network_key(config)
    if name == "Mdc3":  # its curves are not in the repository
        folder = request.getfixturevalue("shared") / "data" / "mdc_psds"
        curves = {**config.observation.params, "curves": str(folder)}
        settings = {"observation": Part(Observation, **curves)}
        config = ConfigMeta("Shared", (config,), settings, register=False)
    monkeypatch.setattr(template_choice, "compute_choice", None)
    monkeypatch.setenv("G2NET_CACHE", "/nonexistent")
    model = build_model(config, pretrained=False).train()
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count == read_sizes()[key]["parameters"]
    observation = config.observation.build()
    check_gradients(model, observation.num_samples // 2, observation.num_detectors)


def test_curves_that_are_not_there_are_named() -> None:
    with pytest.raises(UserError, match="noise curve input/mdc_psds does not exist: expected"):
        build_model(configs.Mdc3)


def check_gradients(model: torch.nn.Module, length: int, channels: int = 3) -> None:
    logits = model(torch.randn(2, channels, length))
    assert logits.shape == (2, 1)
    assert logits.dtype == torch.float32
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
