"""channels_last where it is safe: a process must not die of a memory layout."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch
from paths import ROOT
from torch import nn

from architectures import SpectroCNN
from configs import DemoSpec
from models2d.memory_format import MemoryFormat, is_unsafe_on_cpu


def conv(inputs: int, kernel: int = 1, stride: int = 2, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, 48, kernel, stride, groups=groups))


@pytest.mark.parametrize(
    ("network", "unsafe"),
    [
        (conv(3), True),
        (conv(15), True),
        (conv(16), False),
        (conv(3, kernel=3), False),
        (conv(3, stride=1), False),
        (conv(12, groups=12), False),
    ],
)
def test_the_rule(network: nn.Module, unsafe: bool) -> None:
    assert is_unsafe_on_cpu(network) is unsafe


@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0", "fastvit_t8"])
def test_backbones_that_crashed_are_found(name: str) -> None:
    assert is_unsafe_on_cpu(timm.create_model(name, num_classes=0))


@pytest.mark.parametrize("name", ["test_efficientnet", "tf_efficientnet_b2.aa_in1k", "resnet10t"])
def test_others_are_not(name: str) -> None:
    assert not is_unsafe_on_cpu(timm.create_model(name, num_classes=0))


@pytest.mark.parametrize(
    ("wanted", "inputs", "is_last"), [(True, 16, True), (True, 3, False), (False, 16, False)]
)
def test_weights_and_images_have_the_format(wanted: bool, inputs: int, is_last: bool) -> None:
    network = conv(inputs)
    memory_format = MemoryFormat(network, wanted)
    last = torch.channels_last
    assert network[0].weight.is_contiguous(memory_format=last) or not is_last
    image = torch.randn(2, 3, 8, 16)
    for given in (image, image.contiguous(memory_format=last)):
        arranged = memory_format.arrange(given)
        assert arranged.is_contiguous(memory_format=last) is is_last
        assert torch.equal(arranged, image)


def test_an_image_model_of_an_unsafe_backbone_trains_on_a_cpu() -> None:
    """In a process of its own, which the layout would take down with it."""
    code = (
        "import torch; from configs import DemoSpec; from architectures import SpectroCNN\n"
        "params = {**DemoSpec.model_params, 'model_name': 'fastvit_t8', 'resize_img': (64, 256)}\n"
        "model = SpectroCNN(**params).train()\n"
        "for _ in range(2):\n"
        "    model(torch.randn(2, 3, 2048)).square().sum().backward()\n"
        "print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["alive"], (done.returncode, done.stderr)


def test_the_switch_in_a_config() -> None:
    strain = torch.randn(2, 3, 2048)
    torch.manual_seed(0)
    fast = SpectroCNN(**DemoSpec.model_params).eval()
    torch.manual_seed(0)
    plain = SpectroCNN(**DemoSpec.model_params, channels_last=False).eval()
    assert plain.memory_format.arrange(strain[:, None]).is_contiguous()
    with torch.inference_mode():
        torch.testing.assert_close(fast(strain), plain(strain), rtol=1e-4, atol=1e-4)
