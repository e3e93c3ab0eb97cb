"""Small layers against numpy and their formulas; shapes, gradients, nothing changed in place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from layers.activations import make_activation
from layers.attention import AttentionGate, Cbam1d, TripletAttention
from layers.mixing import ManifoldMixup, cutmix, mix_input, mix_rows
from layers.pooling import GeM, GeMPool1d, GlobalPool1d
from layers.positional_encoding import PositionalEncoding2d, sinusoidal_table
from layers.stochastic_depth import DropPath
from runtime.errors import UserError


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- mixing ----------------------------------------------------------------------------------


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


# --- pooling ---------------------------------------------------------------------------------


def test_gem_equals_numpy(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 5, 4, 6))
    layer = GeM(eps=1e-4)
    assert count(layer) == 1
    expected = (np.maximum(x, 1e-4) ** 3).mean((2, 3)) ** (1 / 3)
    result = layer(torch.tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-5)  # float32


def test_gem_between_average_and_maximum() -> None:
    x = torch.rand(3, 4, 8, 8)
    torch.testing.assert_close(GeM(p=1.0)(x), x.mean((-2, -1)))
    torch.testing.assert_close(GeM(p=300.0)(x), x.amax((-2, -1)), rtol=0.02, atol=0)


def test_gem_of_one_axis() -> None:
    x = torch.rand(2, 3, 4, 5)
    row = GeM(dims=(-2,), keepdim=True)(x)
    assert row.shape == (2, 3, 1, 5)
    torch.testing.assert_close(row[:, :, 0, 2], GeM(dims=(-1,))(x[:, :, :, 2]))


@pytest.mark.parametrize("value", [-1.0, 0.0, 1e-6, 1e3])
def test_gem_gradient_is_finite(value: float) -> None:
    layer, x = GeM(), torch.full((1, 2, 3, 3), value, requires_grad=True)
    layer(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(layer.p.grad).all()


def test_gem_under_autocast_does_not_overflow() -> None:
    x = torch.full((1, 1, 4, 4), 100.0).half()  # its cube overflows half precision
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = GeM()(x)
    assert result.dtype == torch.float16
    assert result.item() == pytest.approx(100, rel=1e-3)


def test_gem_pool_1d(rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 1, (2, 3, 11))
    expected = (x[..., :8].reshape(2, 3, 2, 4) ** 3).mean(-1) ** (1 / 3)
    result = GeMPool1d(4)(torch.tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(result.detach().numpy(), expected, rtol=1e-5)


def test_global_pool_1d() -> None:
    x = torch.randn(2, 3, 7)
    torch.testing.assert_close(GlobalPool1d("avg")(x), x.mean(-1))
    torch.testing.assert_close(GlobalPool1d("max")(x), x.max(-1).values)
    both = torch.cat([x.max(-1).values, x.mean(-1)], 1)
    torch.testing.assert_close(GlobalPool1d("concat")(x), both)
    assert GlobalPool1d("concat").width(3) == both.shape[1]
    torch.testing.assert_close(GlobalPool1d("gem")(x), GeM(dims=(-1,))(x))
    with pytest.raises(UserError, match="'avg', 'max', 'concat', 'gem'"):
        GlobalPool1d("median")


# --- tables, gates, activations --------------------------------------------------------------


@pytest.mark.parametrize("columns", [6, 7])
def test_sinusoidal_table(columns: int) -> None:
    table = sinusoidal_table(5, columns)
    for position in range(5):
        for dimension in range(columns):
            angle = position / 10000 ** (2 * (dimension // 2) / columns)
            expected = math.sin(angle) if dimension % 2 == 0 else math.cos(angle)
            assert table[position, dimension].item() == pytest.approx(expected, abs=1e-6)


def test_positional_encoding() -> None:
    x = torch.randn(2, 3, 4, 6)
    added = PositionalEncoding2d((4, 6))(x)
    torch.testing.assert_close(added - x, sinusoidal_table(4, 6).expand(2, 3, 4, 6))
    joined = PositionalEncoding2d((8, 6), mode="cat")(x)
    assert joined.shape == (2, 4, 4, 6)
    torch.testing.assert_close(joined[:, :3], x)
    torch.testing.assert_close(joined[1, 3], sinusoidal_table(8, 6)[:4])
    assert not PositionalEncoding2d((4, 6)).state_dict()
    with pytest.raises(UserError, match="larger than the table"):
        PositionalEncoding2d((3, 6))(x)
    with pytest.raises(UserError, match="mode"):
        PositionalEncoding2d((3, 6), mode="mul")


def test_attention_gate_by_formula() -> None:
    gate, x = AttentionGate(3).eval(), torch.randn(2, 5, 4, 6)
    pooled = torch.stack([x.max(1).values, x.mean(1)], 1)
    logits = nn.functional.conv2d(pooled, gate.conv.weight, padding=1) / math.sqrt(
        1 + gate.norm.eps
    )
    torch.testing.assert_close(gate(x), x * torch.sigmoid(logits))


def test_triplet_attention() -> None:
    layer = TripletAttention()
    assert count(layer) == 3 * (2 * 7 * 7 + 2)
    x = torch.randn(2, 5, 4, 6, requires_grad=True)
    assert layer(x).shape == x.shape
    layer(x).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in layer.parameters())


def test_triplet_attention_treats_the_axes_alike() -> None:
    """With one gate for all three views, exchanging axes before or after makes no difference."""
    layer = TripletAttention().eval()
    layer.channel_width = layer.channel_height = layer.height_width
    kernel = layer.height_width.conv.weight
    with torch.no_grad():
        kernel.copy_((kernel + kernel.transpose(-1, -2)) / 2)  # the gates see axes transposed
    x = torch.randn(2, 5, 4, 6)

    def exchange(x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)

    torch.testing.assert_close(exchange(layer(x)), layer(exchange(x)))


def test_make_activation() -> None:
    assert isinstance(make_activation("silu"), nn.SiLU)
    assert isinstance(make_activation(nn.Tanh), nn.Tanh)
    with pytest.raises(UserError, match="did you mean 'relu'"):
        make_activation("relu6")


def test_cbam_by_formula(rng: np.random.Generator) -> None:
    gate = Cbam1d(8, reduction=2, kernel_size=3).double()
    x = rng.normal(size=(2, 8, 20))
    first, second = gate.channel[0], gate.channel[2]

    def shared(pooled: np.ndarray) -> np.ndarray:  # (2, 8)
        hidden = pooled @ first.weight[..., 0].detach().numpy().T + first.bias.detach().numpy()
        return np.maximum(hidden, 0) @ second.weight[..., 0].detach().numpy().T + (
            second.bias.detach().numpy()
        )

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    gated = x * sigmoid(shared(x.mean(-1)) + shared(x.max(-1)))[..., None]
    padded = np.pad(np.stack([gated.mean(1), gated.max(1)], 1), ((0, 0), (0, 0), (1, 1)))
    taps = gate.time.weight[0].detach().numpy()  # (2, 3)
    score = sum(padded[:, :, k : k + 20].transpose(0, 2, 1) @ taps[:, k] for k in range(3))
    expected = gated * sigmoid(score + gate.time.bias.item())[:, None]
    np.testing.assert_allclose(gate(torch.tensor(x)).detach().numpy(), expected, rtol=1e-12)


def test_drop_path_drops_rows_and_keeps_the_mean() -> None:
    x = torch.ones(4000, 2, 3)
    layer = DropPath(0.25)
    y = layer(x)
    dropped = (y == 0).all((1, 2))
    assert torch.equal(dropped, (y == 0).any(2).any(1))  # whole rows
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.035)  # 5 sigma
    torch.testing.assert_close(y[~dropped], x[~dropped] / 0.75)
    assert torch.equal(layer.eval()(x), x)
    with pytest.raises(UserError, match="drop_path"):
        DropPath(1.0)
