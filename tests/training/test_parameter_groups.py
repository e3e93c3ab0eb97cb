"""Groups of parameters: parts and layers of a network, their rates and their weight decay."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from architectures import SpectroCNN
from models1d import CNN1d
from runtime.errors import UserError
from spectrograms import CNNSpectrogram
from training.network_parts import layer_of_parameters, part_of_parameters
from training.parameter_groups import ParameterGroups
from training.schedules import share_maximum
from training_extras import WarmupCosine

ADAMW = torch.optim.AdamW
PARAMS = {"lr": 0.1, "weight_decay": 0.01}


@pytest.fixture(scope="module")
def image_model() -> nn.Module:
    return SpectroCNN(
        model_name="resnet10t",
        spectrogram=CNNSpectrogram,
        spec_params={"base_filters": 8, "kernel_sizes": (16, 8, 4)},
        custom_classifier="gem",
    )


def names_by_rate(model: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
    """Return the rate and the weight decay of each parameter by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group.get("weight_decay", 0.01))
        for group in groups
        for parameter in group["params"]
    }


def test_parts_of_an_image_model(image_model: nn.Module) -> None:
    parts = part_of_parameters(image_model)
    assert {part for name, part in parts.items() if name.startswith("image.")} == {"front_end"}
    assert {part for name, part in parts.items() if ".backbone." in name} == {"backbone"}
    assert parts["network.hidden.weight"] == parts["network.classifier.bias"] == "head"


def test_parts_of_networks_that_do_not_say_them() -> None:
    plain = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1), nn.Sigmoid())
    assert list(part_of_parameters(plain).values()) == ["backbone"] * 2 + ["head"] * 2
    own = part_of_parameters(CNN1d())
    assert {name for name, part in own.items() if part == "head"} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_each_part_has_its_rate_and_vectors_do_not_decay(image_model: nn.Module) -> None:
    groups = ParameterGroups(front_end=0.1, head=10.0).split(image_model, ADAMW, PARAMS)
    settings = names_by_rate(image_model, groups)
    assert settings.keys() == dict(image_model.named_parameters()).keys()
    for name, parameter in image_model.named_parameters():
        part = part_of_parameters(image_model)[name]
        factor = {"front_end": 0.1, "backbone": 1.0, "head": 10.0}[part]
        decay = 0.01 if parameter.ndim > 1 else 0.0
        assert settings[name] == pytest.approx((0.1 * factor, decay)), name
    assert groups[0]["lr"] == 0.1  # the one that the log says
    everything = ParameterGroups(decay_norms=True).split(image_model, ADAMW, PARAMS)
    assert len(everything) == 1
    assert "weight_decay" not in everything[0]


def test_layers_decay_as_in_timm() -> None:
    model = timm.create_model("resnet10t", num_classes=1)
    groups = ParameterGroups(layer_decay=0.5, decay_norms=True).split(model, ADAMW, PARAMS)
    ours = {name: rate / 0.1 for name, (rate, _) in names_by_rate(model, groups).items()}
    theirs = timm.optim.param_groups_layer_decay(model, weight_decay=0.01, layer_decay=0.5)
    scales = {id(parameter): group["lr_scale"] for group in theirs for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        if name.startswith("fc."):
            assert ours[name] == 1.0
        else:
            # timm counts the head as one layer or leaves it in the last, from version to version
            assert ours[name] / ours["conv1.0.weight"] == pytest.approx(
                scales[id(parameter)] / scales[id(dict(model.named_parameters())["conv1.0.weight"])]
            )


def test_layers_of_other_networks_follow_their_lists() -> None:
    layers = layer_of_parameters(CNN1d())
    assert layers["classifier.weight"] == max(layers.values())
    assert min(layers.values()) == 1  # there is no front-end
    assert list(layers.values()) == sorted(layers.values())


def test_schedules_keep_the_factors() -> None:
    model = CNN1d()
    groups = ParameterGroups(head=4.0).split(model, torch.optim.SGD, {"lr": 0.1})
    optimizer = torch.optim.SGD(groups, lr=0.1)
    schedule = WarmupCosine(optimizer, 10, warmup=0.0)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    rates = {group["rate_factor"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx({1.0: 0.05, 4.0: 0.2})  # half a cosine is half-way
    # A schedule with a maximum of its own gets one for each group.
    shared = share_maximum({"max_lr": 0.3, "total_steps": 9}, optimizer)
    factors = [group["rate_factor"] for group in optimizer.param_groups]
    assert shared == {"max_lr": [0.3 * factor for factor in factors], "total_steps": 9}
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    assert share_maximum({"max_lr": 0.3}, plain) == {"max_lr": 0.3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"head": 0.0}, r"head = 0.0: .* --set freeze=Freeze freeze.parts=\[head\]"),
        ({"layer_decay": 1.5}, "layer_decay = 1.5"),
    ],
)
def test_factors_that_make_no_sense_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ParameterGroups(**arguments)
