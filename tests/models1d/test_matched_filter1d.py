"""MatchedFilter1d: its filters, powers, averages and likelihood beside independent ones."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from competition import SAMPLES, window_of
from network_checks import check_classifier, check_gradients, check_mixing, count

from models1d import MatchedFilter1d, delay_averages
from models1d.template_outputs import power
from runtime.errors import UserError

SMALL = {"templates": 5, "basis": 7, "before": 0.25, "after": 0.0625, "arrival": (1.6, 1.7)}


def randomised(model: MatchedFilter1d) -> MatchedFilter1d:
    """Give the head, the delays and the prior other values than those that they begin with."""
    with torch.no_grad():
        for parameter in (model.classifier.weight, model.prior, *model.delay):
            parameter.copy_(torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("share", [True, False])
def test_power_is_that_of_two_quadratures(share: bool) -> None:
    """Beside numpy's correlation of each template with the strain, silence around the window."""
    model = MatchedFilter1d(**SMALL | {"arrival": (0.1, 1.99)}, share_filters=share).double()
    x = torch.randn(2, 2048, dtype=torch.float64)
    found = power(model.filtered(x, 1, reach=3)).detach().numpy()
    templates = (model.templates[1] @ model.filters[1]).detach().numpy()  # (template, 2, samples)
    silent = np.pad(x.numpy(), ((0, 0), (1000, 1000)))
    for row in range(2):
        for m in range(5):
            both = [np.correlate(silent[row], q, "valid") for q in templates[m]]
            # A filter whose merger is at sample t begins `before` = 256 samples earlier.
            times = (model.grid.first - 3 + np.arange(model.grid.num_times + 6)) * 4 - 256 + 1000
            expected = (both[0][times] ** 2 + both[1][times] ** 2) / 2
            np.testing.assert_allclose(found[row, m], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [True, False])
def test_the_ratio_is_the_sum_of_products_over_detectors(share: bool) -> None:
    """The formula of the docstring, by loops over numpy's correlations."""
    torch.manual_seed(3)
    model = MatchedFilter1d(
        **SMALL | {"templates": 2, "arrival": (1.6, 1.615)},
        share_filters=share,
        amplitudes=(0.5, 0.6, 0.7),
    ).double()
    randomised(model)
    x = torch.randn(3, 3, 2048, dtype=torch.float64)
    w = torch.softmax(model.prior, 0).detach().numpy()
    delays = [np.ones(1), *(torch.softmax(k, 0).detach().numpy() for k in model.delay)]
    assert [len(k) for k in delays] == [1, 7, 17]  # up to 3 and 8 strides of 3.9 ms
    filters = (model.templates @ model.filters[:, None]).detach().numpy()
    which = (0, 0, 1) if share else (0, 1, 2)
    expected = np.zeros((3, 2, model.grid.num_times))
    for row, m, t in np.ndindex(expected.shape):
        ratio = 1.0
        for d, a in enumerate((0.5, 0.6, 0.7)):
            mean = 0.0
            for i, weight in enumerate(delays[d]):
                merger = (model.grid.first + t + i - len(delays[d]) // 2) * 4
                cut = x[row, d, merger - 256 : merger + 64].numpy()
                power = sum((q @ cut) ** 2 for q in filters[which[d], m]) / 2
                mean += weight * (1 - a) * np.exp(a * power)
            ratio *= mean
        expected[row, m, t] = ratio
    found = model.forward_features(x)
    np.testing.assert_allclose(found.detach().numpy(), np.log(expected), rtol=1e-5, atol=1e-5)
    pooled = np.log((w[:, None] * expected).sum((1, 2)) / model.grid.num_times)
    model.reset_classifier(1)
    model.double()
    np.testing.assert_allclose(model(x)[:, 0].detach().numpy(), pooled, rtol=1e-5, atol=1e-5)


def test_loud_bursts_that_do_not_coincide_are_not_a_merger() -> None:
    """Each detector alone gives its own; together they give no more than the louder."""
    torch.manual_seed(0)
    model = MatchedFilter1d(**SMALL | {"arrival": (1.5, 1.8)}).double()
    filters = (model.templates @ model.filters[:, None]).detach()

    def burst(detector: int, at: float, m: int) -> torch.Tensor:
        x = torch.zeros(1, 3, 2048, dtype=torch.float64)
        place = int(at * 1024)
        shape = filters[0, m, 0]
        x[0, detector, place - 256 : place + 64] = 30 * shape / shape.norm()
        return x

    first, second = burst(0, 1.5625, 0), burst(1, 1.75, 1)
    apart, together = model(first + second), model(first + burst(1, 1.5625, 0))
    alone = torch.maximum(model(first), model(second))
    assert (apart - alone).abs().item() < 0.1 * alone.item()
    assert together.item() > 1.5 * model(first).item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_little(dtype: torch.dtype) -> None:
    model = MatchedFilter1d(**SMALL)
    x = torch.randn(4, 3, 2048)
    x[0] *= 1e5  # more than fp16 holds
    with torch.autocast("cpu", dtype):
        found = model(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, model(x), rtol=2e-2, atol=0.1)


def test_the_likelihood_is_that_of_gaussian_amplitudes() -> None:
    """Beside an integral over the real and imaginary part of the amplitude, by quadrature."""
    model = MatchedFilter1d(
        1,
        delays=(0.0,),
        observation=window_of(SAMPLES, "H1"),
        amplitudes=(0.7,),
        **SMALL | {"templates": 1, "arrival": (1.6, 1.6001)},
    ).double()
    x = torch.randn(1, 1, 2048, dtype=torch.float64)
    found = model.forward_features(x)
    assert found.shape == (1, 1, 1)
    square = 2 * power(model.filtered(x[:, 0], 0, 0)).item()
    variance = 0.7 / (1 - 0.7)  # of the real and of the imaginary part

    def integrand(imaginary: float, real: float) -> float:
        prior = np.exp(-(real**2 + imaginary**2) / 2 / variance) / (2 * np.pi * variance)
        return prior * np.exp(np.sqrt(square) * real - (real**2 + imaginary**2) / 2)

    ratio, _ = scipy.integrate.dblquad(integrand, -15, 15, -15, 15, epsabs=1e-9)
    np.testing.assert_allclose(found.item(), np.log(ratio), rtol=1e-5)


@pytest.mark.parametrize(
    ("correlation", "shares"),
    [(-0.8, (1.0,)), (0.0, (1.0,)), (0.5, (1.0,)), (-0.7, (1.0, 0.3, 0.02)), (0.0, (1.0, 0.2))],
)
def test_correlated_amplitudes_are_gaussian_together(
    correlation: float, shares: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside scipy's densities of z with and without a signal, in more rows than go at a time."""
    torch.manual_seed(1)
    model = MatchedFilter1d(
        2,
        delays=(0.0, 0.0115),
        observation=window_of(SAMPLES, "H1", "L1"),
        amplitudes=(0.5, 0.8),
        correlation=correlation,
        components=len(shares),
        **SMALL | {"templates": 2, "arrival": (1.6, 1.61)},
    ).double()
    randomised(model)
    if len(shares) > 1:
        model.shares.copy_(torch.tensor(shares))
    x = 2 * torch.randn(9, 2, 2048, dtype=torch.float64)
    first, second = (model.filtered(x[:, d], 0, d * 3).detach().numpy() for d in range(2))
    delays = torch.softmax(model.delay[0], 0).detach().numpy()
    variances = np.array([0.5 / (1 - 0.5), 0.8 / (1 - 0.8)])
    covariance = np.diag(variances)
    covariance[0, 1] = covariance[1, 0] = correlation * np.sqrt(variances.prod())
    # of each quadrature of each component
    signals = [scipy.stats.multivariate_normal(cov=np.eye(2) + nu * covariance) for nu in shares]
    noise = scipy.stats.multivariate_normal(cov=np.eye(2))
    expected = np.zeros((9, 2, model.grid.num_times))
    for row, m, t in np.ndindex(expected.shape):
        for u, weight in enumerate(delays):
            z = np.stack([first[row, m, :, t], second[row, m, :, t + u]], axis=1)  # (2 K, 2)
            ratio = -noise.logpdf(z).sum()
            for k, signal in enumerate(signals):
                ratio += signal.logpdf(z[2 * k : 2 * k + 2]).sum()
            expected[row, m, t] += weight * np.exp(ratio)
    of_a_row = 7 * 2 * (model.grid.num_times + 6)
    monkeypatch.setitem(delay_averages.TERMS_AT_A_TIME, "cpu", 4 * of_a_row)  # then 4, 4 and 1
    found = model.forward_features(x).detach().numpy()
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-6, atol=1e-6)
    assert model.forward_features(x[:0]).shape == (0, 2, model.grid.num_times)
    if correlation == 0:
        model.correlation = None
        independent = model.forward_features(x).detach().numpy()
        np.testing.assert_allclose(found, independent, rtol=1e-6, atol=1e-6)


def test_the_pair_can_be_any_two_detectors() -> None:
    """L1 and V1 of H1, L1, V1 give what the first two give where they come first, H1 the third."""
    settings = SMALL | {"templates": 2, "stride": 2, "correlation": -0.5, "share_filters": False}
    torch.manual_seed(2)
    later = MatchedFilter1d(**settings, pair=("L1", "V1"), amplitudes=(0.5, 0.6, 0.7)).double()
    swapped = window_of(SAMPLES, "L1", "V1", "H1")
    first = MatchedFilter1d(**settings, observation=swapped, amplitudes=(0.6, 0.7, 0.5)).double()
    # L1 is the reference of both. Strides of 2 ms: 26 ms to V1, 10 ms to H1, and 1.6 ms more.
    assert later.grid.reach == (6, 0, 15)
    assert first.grid.reach == (0, 15, 6)
    randomised(later)
    order = [1, 2, 0]
    with torch.no_grad():
        first.filters.copy_(later.filters[order])
        first.templates.copy_(later.templates[order])
        first.delay[0].copy_(later.delay[1])  # of V1
        first.delay[1].copy_(later.delay[0])  # of H1
        first.prior.copy_(later.prior)
    x = torch.randn(2, 3, 2048, dtype=torch.float64)
    torch.testing.assert_close(later.forward_features(x), first.forward_features(x[:, order]))
    check_gradients(later, x)


def test_detectors_of_one_curve_share_filters() -> None:
    """Any of them, neighbours or not; what is computed does not depend on it."""
    names = ("H1", "V1", "L1", "K1")
    shared = MatchedFilter1d(**SMALL, observation=window_of(SAMPLES, *names)).double()
    assert shared.groups == [(0, 2), (1,), (3,)]
    assert MatchedFilter1d(**SMALL, observation=window_of(SAMPLES, "ET1", "ET2", "ET3")).groups == [
        (0, 1, 2)
    ]
    apart = MatchedFilter1d(
        **SMALL, share_filters=False, observation=window_of(SAMPLES, *names)
    ).double()
    assert len(apart.filters) == 4
    which = [0, 1, 0, 2]
    apart.filters.copy_(shared.filters[which])
    apart.templates.copy_(shared.templates[which])
    x = torch.randn(2, 4, 2048, dtype=torch.float64)
    torch.testing.assert_close(shared.forward_features(x), apart.forward_features(x))


def test_amplitudes_begin_by_sensitivity() -> None:
    def initial(*names: str) -> list[float]:
        model = MatchedFilter1d(**SMALL, observation=window_of(SAMPLES, *names))
        return model.amplitude.sigmoid().tolist()

    assert initial("H1", "L1", "V1") == pytest.approx([0.76, 0.76, 0.6])
    assert initial("V1", "H1", "L1") == pytest.approx([0.6, 0.76, 0.76])
    assert initial("V1") == pytest.approx([0.76])
    assert initial("H1", "CE") == pytest.approx([0.6, 0.76])


@pytest.mark.parametrize("detectors", [1, 2, 3])
@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("correlation", [None, -0.6])
def test_shapes_and_gradients(detectors: int, learn: bool, correlation: float | None) -> None:
    correlation = correlation if detectors > 1 else None
    names, delays = ("H1", "L1", "V1")[:detectors], (0.0, 0.0115, 0.029)[:detectors]
    model = MatchedFilter1d(
        detectors,
        delays=delays,
        observation=window_of(SAMPLES, *names),
        learn_filters=learn,
        correlation=correlation,
        **SMALL,
    )
    x = torch.randn(2, detectors, 2048)
    assert model.forward_features(x).shape == (2, 5, model.grid.num_times)
    assert model(x).shape == (2, 1)
    filters = max(detectors - 1, 1) * (7 * 320 + 5 * 2 * 7) if learn else 0
    offsets = sum(2 * int(np.ceil(delay * 256)) + 1 for delay in delays[1:])
    own = detectors + (correlation is not None)
    assert count(model) == filters + own + offsets + 5 + 2 * 16 + 17 + 1
    check_gradients(randomised(model), x)


def test_classifier_and_mixing() -> None:
    model = randomised(MatchedFilter1d(**SMALL))
    check_mixing(model, torch.randn(2, 3, 2048))
    check_classifier(model, torch.randn(2, 3, 2048), 17)


@pytest.mark.parametrize("correlation", [None, -0.6])
def test_silence_and_loud_strain_stay_finite(correlation: float | None) -> None:
    model = MatchedFilter1d(**SMALL, learn_filters=True, correlation=correlation)
    for scale in (0.0, 1e3):
        x = torch.randn(2, 3, 2048) * scale
        logits = model(x)
        assert torch.isfinite(logits).all()
        logits.sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"delays": (0.0, 0.01)}, "as many as in_channels = 3"),
        ({"stride": 3}, "a divisor of 32"),
        ({"stride": 4.0}, "a whole number"),
        ({"decimate": 0}, "decimate = 0"),
        ({"templates": 0}, "templates = 0"),
        ({"delays": (0.01, 0.0, 0.0)}, "expected 0 for H1"),
        ({"arrival": (1.8, 1.5)}, "rising times"),
        ({"arrival": (1.8, 2.5)}, "within 2 s"),
        ({"arrival": (1.6,)}, "two rising times"),
        ({"amplitudes": (0.5, 0.5, 1.0)}, "between 0 and 1"),
        ({"correlation": -1.0}, "correlation = -1.0: expected a number"),
        ({"correlation": 1 - 1e-9}, "expected a number between -0.999 and 0.999"),
        ({"correlation": "no"}, "correlation = 'no'"),
        ({"correlation": False}, "correlation = False"),
        ({"in_channels": 2}, "as many as in_channels = 2"),
        ({"correlation": 0.5, "pair": ("H1", "K1")}, "out of H1, L1, V1"),
        ({"pair": ("H1", "L1")}, "set correlation as well"),
        ({"share_filters": (("H1", "V1"),)}, "H1 and V1 have different noise curves"),
        ({"correlation": 0.5, "pair": ("H1", "H1")}, "two different detectors"),
        ({"correlation": 0.5, "observation": window_of(SAMPLES, "H1")}, "two different detectors"),
        ({"before": 0.01, "after": 0.01}, "at least as many samples as basis"),
        ({"pretrained": True, "templates": 9, "bank_size": 8}, "too small"),
        ({"pretrained": True, "before": 1.8, "bank_size": 300}, "do not fit a window"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        MatchedFilter1d(**arguments)


@pytest.mark.parametrize("shape", [(2, 2, 2048), (2, 3, 1024), (2, 3, 4096)])
def test_strain_that_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="detectors and 2048 samples"):
        MatchedFilter1d(**SMALL)(torch.randn(shape))


@pytest.mark.parametrize(
    "settings", [{}, {"correlation": -0.6, "components": 2}, {"glitches": True}]
)
def test_the_sign_changes_no_bit_of_a_logit(settings: dict) -> None:
    model, x = randomised(MatchedFilter1d(**SMALL, **settings)), torch.randn(3, 3, 2048)
    assert model.ignores_sign
    assert torch.equal(model(x), model(-x))

    class Child(MatchedFilter1d):
        pass

    assert not Child(**SMALL).ignores_sign
