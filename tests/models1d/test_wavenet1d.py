"""WaveNet1d: published parameter counts, shapes, the gate's formula, refused arguments."""

from __future__ import annotations

import pytest
import torch
from network_checks import check_classifier, check_gradients, check_mixing, count

from models1d import WaveNet1d
from models1d.wavenet1d import SimplifiedWaveBlock, WaveBlock
from runtime.errors import UserError

SEQ12ARCH4 = {
    "hidden_dims": (128, 128, 256, 256, 512, 512, 1024, 1024),
    "wave_block": "simplified",
    "reinit": False,
    "downsample": True,
    "kernel_size": 16,
    "wave_layers": (12, 10, 8, 8, 6, 6, 4, 2),
}


def test_wavenet1d_published_counts() -> None:
    assert count(WaveNet1d()) == 322_369
    seq12 = WaveNet1d(
        hidden_dims=(128, 256, 512, 1024), wave_block="simplified", downsample=True, reinit=True
    )
    assert count(seq12) == 13_384_449
    assert seq12.num_features == 1024
    with torch.device("meta"):  # 763 MB otherwise
        arch4 = WaveNet1d(**SEQ12ARCH4)
    assert count(arch4) == 190_756_737


@pytest.mark.parametrize("block", ["gated", "none", "simplified"])
def test_wavenet1d(block: str) -> None:
    model = WaveNet1d(
        hidden_dims=(8, 16, 24),
        wave_layers=(6, 4, 2),
        wave_block=block,
        downsample=(False, True, 4),
        reinit=True,
        activation="silu",
    )
    x = torch.randn(2, 3, 512)
    assert model.forward_features(x).shape == (2, 24, 64)
    check_gradients(model, x)
    check_mixing(model, x)
    check_classifier(model, x, 24)


def test_gated_block_equals_its_formula() -> None:
    block = WaveBlock(3, 4, 3, kernel_size=3)
    x = torch.randn(2, 3, 40)
    step = total = torch.nn.functional.conv1d(x, block.entry.weight, block.entry.bias)
    for i, layer in enumerate(block.layers):
        both = torch.nn.functional.conv1d(
            step, layer.gate.weight, layer.gate.bias, padding=2**i, dilation=2**i
        )
        step = layer.mix(torch.tanh(both[:, :4]) * torch.sigmoid(both[:, 4:]))
        total = total + step
    torch.testing.assert_close(block(x), total)


@pytest.mark.parametrize("kind", [WaveBlock, SimplifiedWaveBlock])
@pytest.mark.parametrize(("downsample", "columns"), [(False, 64), (True, 32), (1, 64), (4, 16)])
def test_wave_blocks_divide_the_length(kind, downsample, columns) -> None:
    block = kind(3, 8, 2, downsample=downsample)
    assert block(torch.randn(2, 3, 64)).shape == (2, 8, columns)


@pytest.mark.parametrize("wave_block", ["Simplified", "gate", ""])
def test_unknown_wave_block(wave_block: str) -> None:
    with pytest.raises(UserError, match="'gated', 'none', 'simplified'"):
        WaveNet1d(wave_block=wave_block)


def test_wavenet1d_refuses_lists_that_do_not_match() -> None:
    with pytest.raises(UserError, match="one number a block"):
        WaveNet1d(hidden_dims=(8, 16))
