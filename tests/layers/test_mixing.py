"""Mixed rows against the formula; cutmix against its boxes."""

from __future__ import annotations

import math

import pytest
import torch

from layers.mixing import ManifoldMixup, cutmix, mix_input, mix_rows
from runtime.errors import UserError


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 2, 4), (3, 2, 4, 6)])
def test_mix_rows_of_any_rank(shape: tuple) -> None:
    x, lam, idx = torch.randn(shape), torch.tensor([0.0, 0.3, 1.0]), torch.tensor([2, 0, 1])
    before = x.clone()
    mixed = mix_rows(x, lam, idx)
    assert mixed.shape == x.shape  # the original gave (B, 1, B, D) for (B, D)
    for i in range(3):
        torch.testing.assert_close(mixed[i], lam[i] * x[i] + (1 - lam[i]) * x[idx[i]])
    assert torch.equal(x, before)


def test_mix_rows_keeps_dtype_and_takes_one_number() -> None:
    x = torch.randn(4, 3).half()
    mixed = mix_rows(x, torch.tensor(0.5), torch.arange(4).flip(0))
    assert mixed.dtype == torch.float16
    torch.testing.assert_close(mixed, mixed.flip(0))


def test_manifold_mixup_is_keyed_on_lam() -> None:
    layer, x = ManifoldMixup(), torch.randn(2, 3, requires_grad=True)
    assert layer(x) is x
    lam, idx = torch.tensor([0.2, 0.7]), torch.tensor([1, 0])
    for training in (True, False):
        torch.testing.assert_close(layer.train(training)(x, lam, idx), mix_rows(x, lam, idx))
    with pytest.raises(UserError, match="both"):
        layer(x, lam=lam)
    with pytest.raises(UserError, match="both"):
        mix_input(x, None, idx)


@pytest.mark.parametrize("size", [(8, 12), (32, 7)])
def test_cutmix(size: tuple[int, int]) -> None:
    """Every row holds one box of its partner, and λ is the share outside it."""
    rows = 200
    image = torch.arange(rows).float().reshape(-1, 1, 1, 1).expand(-1, 2, *size).contiguous()
    before = image.clone()
    lam, idx = torch.rand(rows), torch.arange(rows).roll(1)
    mixed, used = cutmix(image, lam, idx)
    assert torch.equal(image, before)
    pasted = mixed[:, 0] == idx.reshape(-1, 1, 1)
    assert torch.equal(mixed[:, 0], mixed[:, 1])
    assert (pasted | (mixed[:, 0] == torch.arange(rows).reshape(-1, 1, 1))).all()
    torch.testing.assert_close(used, 1 - pasted.float().mean((1, 2)))
    for row in range(rows):
        full = [math.floor(side * math.sqrt(1 - lam[row].item()) + 1e-4) for side in size]
        high, wide = pasted[row].any(1).sum().item(), pasted[row].any(0).sum().item()
        assert pasted[row].sum() == high * wide  # one solid box
        if high and wide:
            assert high <= full[0]
            assert wide <= full[1]
            assert high >= full[0] // 2  # the centre lies inside, so half of it at least does
    assert used.min() >= 0


def test_cutmix_extremes() -> None:
    image, idx = torch.randn(2, 3, 6, 6), torch.tensor([1, 0])
    mixed, used = cutmix(image, torch.ones(2), idx)
    assert torch.equal(mixed, image)
    assert used.tolist() == [1.0, 1.0]
    share = torch.stack([cutmix(image, torch.zeros(2), idx)[1] for _ in range(200)])
    assert share.min() < 0.2  # a whole box near the centre
    assert share.max() <= 0.75 + 1e-6  # at least a quarter of it lies inside
