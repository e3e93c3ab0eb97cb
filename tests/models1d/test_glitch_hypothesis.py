"""The hypothesis of a glitch: its formulas by plain numpy, and what it does to a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from competition import window_of
from network_checks import check_gradients, count

from models1d import MatchedFilter1d
from models1d.glitch_hypothesis import (
    AMPLITUDE,
    LOG_ODDS,
    GlitchSpan,
    log_glitch_ratio,
    log_sum_over_tiles,
    ratio_beside_glitches,
)

WINDOW = 2048  # samples: one second
SMALL = {"templates": 5, "basis": 7, "before": 0.25, "after": 0.0625, "arrival": (0.5, 0.55)}
OBSERVATION = window_of(WINDOW, "H1", "L1")


def small_network(**settings: object) -> MatchedFilter1d:
    """Return a network with random filters, of H1 and L1 and one second."""
    torch.manual_seed(0)
    return MatchedFilter1d(**SMALL | {"observation": OBSERVATION, **settings}).double()


def test_the_ratio_of_a_glitch_is_a_mean_over_tiles_and_times() -> None:
    powers = torch.rand(3, 4, 5, dtype=torch.float64) * 8
    a = torch.tensor(0.9, dtype=torch.float64)
    expected = np.log(((1 - 0.9) * np.exp(0.9 * powers.numpy())).mean((1, 2)))
    np.testing.assert_allclose(log_glitch_ratio(powers, a), expected)
    sums = np.log(np.exp(0.9 * powers.numpy()).sum(1))
    np.testing.assert_allclose(log_sum_over_tiles(powers, a), sums)
    loud = log_glitch_ratio(powers + 20000, a)  # a glitch of SNR 200
    np.testing.assert_allclose(loud, expected + 0.9 * 20000)


def test_the_ratio_beside_glitches_is_that_of_the_hypotheses() -> None:
    """Formula (1) in plain numbers: three detectors, of which any may have glitches."""
    generator = torch.Generator().manual_seed(1)
    log_all = torch.randn(6, 2, 4, generator=generator, dtype=torch.float64)
    subsets = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
    alone = {left: torch.randn(6, 2, 4, generator=generator).double() for left in subsets}
    odds = torch.randn(6, 3, generator=generator, dtype=torch.float64).clamp(-2, 2) * 3
    asked = []

    def without(left: tuple[int, ...], rows: torch.Tensor) -> torch.Tensor:
        asked.append(left)
        assert rows.tolist() == list(range(6))
        return alone[left]

    found = ratio_beside_glitches(log_all, odds, without)
    g = odds.exp()[:, :, None, None].unbind(1)
    signal, noise = log_all.exp() + g[0] * g[1] * g[2], (1 + g[0]) * (1 + g[1]) * (1 + g[2])
    for left in subsets:
        signal = signal + math.prod(g[d] for d in left) * alone[left].exp()
    torch.testing.assert_close(found, (signal / noise).log())
    assert asked == subsets


def test_without_a_glitch_the_others_are_not_asked() -> None:
    log_ratio = torch.randn(3, 2, 4, dtype=torch.float64)
    odds = torch.tensor([[-9.0, -8.0], [-20.0, -np.inf], [-9.0, 3.0]], dtype=torch.float64)
    asked = []

    def without(left: tuple[int, ...], rows: torch.Tensor) -> torch.Tensor:
        asked.append((left, rows.tolist()))
        return torch.zeros(len(rows), 2, 4, dtype=torch.float64)

    found = ratio_beside_glitches(log_ratio, odds, without)
    assert asked == [((1,), [2])]
    torch.testing.assert_close(found[:2], log_ratio[:2], atol=1e-3, rtol=0)
    expected = ((log_ratio[2].exp() + math.e**3) / (1 + math.e**3)).log()
    torch.testing.assert_close(found[2], expected, atol=1e-3, rtol=0)


def test_loud_glitches_leave_their_detectors_out() -> None:
    log_ratio, others = torch.full((1, 1, 1), 150.0), torch.full((1, 1, 1), -0.7)

    def without(left: tuple[int, ...], rows: torch.Tensor) -> torch.Tensor:
        return others[rows]

    odds = torch.tensor([[280.0, -8.0]])
    found = ratio_beside_glitches(log_ratio, odds, without)
    assert found.item() == pytest.approx(-0.7, abs=1e-3)
    # A signal of log-ratio 400 in both is not outdone by what a sine-Gaussian has of it.
    found = ratio_beside_glitches(log_ratio + 250, odds, without)
    assert found.item() == pytest.approx(400 - 280, abs=1e-3)
    # Glitches in both at different times: neither detector alone is believed.
    both = torch.tensor([[280.0, 200.0]])
    found = ratio_beside_glitches(log_ratio, both, lambda left, rows: others[rows] + 180)
    assert found.item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("correlation", [None, -0.6])
def test_the_network_by_numpy(correlation: float | None) -> None:
    """Powers by numpy's correlation at each place, formulas (2) and (1) written out."""
    model = small_network(glitches=True, correlation=correlation)
    with torch.no_grad():
        model.glitch.log_odds.copy_(torch.tensor([-1.0, -2.0]))
        model.glitch.amplitude.copy_(torch.tensor([0.5, 1.5]))
    x = torch.randn(2, 2, 1024, dtype=torch.float64) * 2
    odds = np.empty((2, 2))
    span, a = model.glitch.span, 1 / (1 + np.exp([-0.5, -1.5]))
    tiles = (model.glitch.tiles[0] @ model.glitch.filters[0]).numpy()  # (tile, 2, 512)
    for row, d in np.ndindex(2, 2):
        silent = np.pad(x[row, d].numpy(), 256)  # the middle of a filter is its centre
        places = span.first + span.stride * np.arange(span.number)
        powers = np.array(
            [sum(np.correlate(silent, q, "valid")[places] ** 2 for q in tile) / 2 for tile in tiles]
        )
        glitch = ((1 - a[d]) * np.exp(a[d] * powers)).mean()
        odds[row, d] = math.exp(-1.0 - d) * glitch
    np.testing.assert_allclose(model.glitch.log_glitch_odds(x).detach(), np.log(odds), rtol=1e-6)
    assert odds.min() > 1e-3  # none is left aside
    z = model.quadratures(x)
    together, second, first = (
        model.log_ratio(parts).exp().detach().numpy() for parts in (z, [None, z[1]], [z[0], None])
    )
    odds = odds[:, :, None, None]
    signal = together + odds[:, 0] * second + odds[:, 1] * first + odds[:, 0] * odds[:, 1]
    expected = np.log(signal / (1 + odds[:, 0]) / (1 + odds[:, 1]))
    np.testing.assert_allclose(model.forward_features(x).detach(), expected, rtol=1e-6)


def test_the_span_covers_what_the_filters_see() -> None:
    model = small_network(glitches=True)
    span, grid = model.glitch.span, model.grid
    # From the first sample of the first filter of the farthest detector ...
    assert span.first == (grid.first - max(grid.reach)) * 4 - 256
    last = span.first + (span.number - 1) * span.stride
    latest = (grid.first + grid.num_times - 1 + max(grid.reach)) * 4 + 64
    assert latest - span.stride <= last < latest  # ... to the last sample of the last
    wide = small_network(glitches=True, arrival=(0.1, 0.99)).glitch.span
    assert wide == GlitchSpan(0, 1024 // 4, 4)  # no farther than the window


def test_parameters_and_gradients() -> None:
    plain, model = small_network(), small_network(glitches=True)
    assert count(model) == count(plain) + 2 + 2  # a and log pi of each detector
    assert model.glitch.amplitude.sigmoid().tolist() == pytest.approx([AMPLITUDE] * 2)
    assert model.glitch.log_odds.tolist() == pytest.approx([LOG_ODDS] * 2)
    assert model(torch.randn(3, 2, 1024, dtype=torch.float64)).shape == (3, 1)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.randn_like(model.classifier.weight))
        model.glitch.log_odds.fill_(-1.0)
    check_gradients(model, torch.randn(2, 2, 1024, dtype=torch.float64))
    state = set(model.state_dict()) - set(plain.state_dict())
    assert all(name.startswith("glitch.") for name in state)


def test_without_the_option_nothing_changes() -> None:
    plain, model = small_network(), small_network(glitches=True)
    model.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 2, 1024, dtype=torch.float64)
    torch.testing.assert_close(model(x), plain(x), atol=0.01, rtol=0)  # quiet strain
    assert plain.glitch is None


@pytest.mark.parametrize("detectors", [("H1",), ("H1", "L1", "V1")])
def test_any_number_of_detectors_stays_finite(detectors: tuple[str, ...]) -> None:
    """Silence, and a loud glitch in the last detector, in single precision."""
    model = small_network(glitches=True, observation=window_of(WINDOW, *detectors)).float()
    x = torch.zeros(3, len(detectors), 1024)
    tile = model.glitch.tiles[-1, 20, 0] @ model.glitch.filters[-1]
    x[1, -1, 256:768] = 200 * tile / tile.norm()
    x[2] = torch.randn(len(detectors), 1024)
    logits = model(x)
    assert torch.isfinite(logits).all()
    assert logits[1] < 5
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_autocast_changes_little() -> None:
    model = small_network(glitches=True).float()
    x = torch.randn(4, 2, 1024)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, model(x), rtol=2e-2, atol=0.1)


def test_a_recorded_graph_is_the_network() -> None:
    """For any number of rows, some of them with a glitch."""
    model = small_network(glitches=True, correlation=-0.6).float().eval()
    x = torch.randn(5, 2, 1024)
    x[1, 0, 300:700] *= 5
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(model, (x[:3],), dynamic_shapes={"x": {0: batch}}, strict=False)
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(x), model(x), atol=1e-4, rtol=1e-5)
