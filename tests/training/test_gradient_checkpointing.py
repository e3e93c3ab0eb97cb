"""Blocks computed twice: the same gradients and statistics, and less that is kept."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from models1d import ResNet1d
from runtime.errors import UserError
from training.gradient_checkpointing import checkpoint_blocks, find_blocks


def small_resnet() -> nn.Module:
    # with dropout and batch norm, whose random numbers and statistics must not be counted twice
    return ResNet1d(base_filters=8, groups=2, n_block=4, kernel_size=4, dropout=0.2, use_bn=True)


NETWORKS = {
    "ResNet1d": (small_resnet, (4, 3, 256)),
    "timm": (lambda: timm.create_model("resnet10t", num_classes=1), (2, 3, 64, 64)),
}


def train_once(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Make a step on the same random input and return the bytes kept for the backward pass."""
    torch.manual_seed(0)
    x, kept = torch.randn(shape), {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(x).square().mean()
    loss.backward()
    return sum(kept.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_statistics_are_the_same_and_less_is_kept(name: str) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(1)
    plain = make()
    again = copy.deepcopy(plain)
    assert checkpoint_blocks(again) >= 2
    assert again.state_dict().keys() == plain.state_dict().keys()
    whole, less = train_once(plain, shape), train_once(again, shape)
    assert less < 0.7 * whole
    for (key, one), two in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad), key
    for key, value in plain.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_the_innermost_lists_are_the_blocks() -> None:
    model = timm.create_model("resnet10t", num_classes=1)
    assert {type(block).__name__ for block in find_blocks(model)} == {"BasicBlock"}


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match="Linear has no list of blocks"):
        checkpoint_blocks(nn.Linear(2, 1))
