"""channels_last where it is safe and exact: a process must not die of a memory layout."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import timm
import torch
from paths import ROOT
from torch import nn

from architectures import SpectroCNN
from configs import DemoSpec
from models2d.memory_format import MemoryFormat, has_batch_norm, is_unsafe_on_cpu


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
    ("wanted", "network", "is_last"),
    [
        (True, conv(16), True),
        (True, conv(3), False),
        (False, conv(16), False),
        (True, nn.Sequential(*conv(16), nn.BatchNorm2d(48)), False),
        (True, nn.Sequential(*conv(16), nn.GroupNorm(4, 48)), True),
    ],
    ids=["plain", "could crash", "not wanted", "batch norm", "another norm"],
)
def test_weights_and_images_have_the_format(
    wanted: bool, network: nn.Sequential, is_last: bool
) -> None:
    memory_format = MemoryFormat(network, wanted)
    memory_format.arrange_weights(network)
    last = torch.channels_last
    wanted_format = last if is_last else torch.contiguous_format
    assert network[0].weight.is_contiguous(memory_format=wanted_format)
    image = torch.randn(2, 3, 8, 16)
    for given in (image, image.contiguous(memory_format=last)):
        arranged = memory_format.arrange(given)
        assert arranged.is_contiguous(memory_format=last) is is_last
        assert torch.equal(arranged, image)
    # On a GPU nothing is less exact and nothing crashes.
    assert (memory_format.on(torch.device("cuda")) == last) is wanted


@pytest.mark.parametrize("name", ["tf_efficientnet_b2.aa_in1k", "resnet10t"])
def test_batch_norms_of_timm_are_found(name: str) -> None:
    assert has_batch_norm(timm.create_model(name, num_classes=0))
    assert not has_batch_norm(timm.create_model("test_convnext", num_classes=0))


def test_weights_follow_the_device() -> None:
    """Another type stands for another device, which may be none here: both come by `_apply`."""
    model = SpectroCNN(**DemoSpec.model_params)
    kernel = next(part for part in model.network.modules() if isinstance(part, nn.Conv2d)).weight
    assert kernel.is_contiguous()
    model.memory_format.wanted_on_cpu = True
    model.double()
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    model.memory_format.wanted_on_cpu = False
    model.float()
    assert kernel.is_contiguous()


def gradient_of(network: nn.Sequential, wanted: MemoryFormat, image: torch.Tensor) -> torch.Tensor:
    """Return the gradient of all weights, in one row."""
    network.zero_grad()
    wanted.arrange_weights(network)
    network(wanted.arrange(image)).relu().square().sum().backward()
    return torch.cat([weight.grad.double().flatten() for weight in network.parameters()])


def test_the_gradient_of_batch_norms_is_exact_and_alike_for_any_number_of_threads() -> None:
    """In channels_last it is some hundred times less exact."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32)).train()
    wanted = MemoryFormat(network, True)
    image = torch.randn(8, 3, 128, 512) + 0.5
    exact = gradient_of(copy.deepcopy(network).double(), wanted, image.double())
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(gradient_of(network, wanted, image))
    finally:
        torch.set_num_threads(threads)
    off = [((each - exact).norm() / exact.norm()).item() for each in found]
    assert max(off) < 3e-6  # float32 resolves 6e-8, and products are summed over 500,000 values
    assert (found[0] - found[1]).norm() < 3e-6 * exact.norm()


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
