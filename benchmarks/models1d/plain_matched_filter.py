"""The likelihood ratio of `MatchedFilter1d` written plainly, with the gradients of torch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from models1d.matched_filter1d import MatchedFilter1d
from models1d.strided_correlation import strided_correlation
from models1d.template_outputs import of_quadratures, power

AT_A_TIME = 2**22  # numbers, over all delays, that fit a CPU's caches


def plain_logits(network: MatchedFilter1d, x: Tensor) -> Tensor:
    """Return the logits of a network whose amplitudes are correlated or not, without glitches.

    Filters are a convolution, delays a loop of terms that torch records, and averages over the
    delays of one detector a product with a banded matrix.

    Args:
        x: (B, D, T) whitened strain.
    """
    z = plain_quadratures(network, x)
    grid, reference = network.grid, network.grid.reference
    log_k = {d: F.log_softmax(k, 0) for d, k in zip(grid.others, network.delay, strict=True)}
    others = list(grid.others)
    if network.correlation is not None:
        second = network.pair[1]
        total = plain_pair(network, z[reference], z[second], log_k[second])
        others.remove(second)
    else:
        total = plain_own(network, z[reference], reference)
    for d in others:
        total = total + plain_average(plain_own(network, z[d], d), log_k[d].exp())
    log_prior = network.log_prior()[:, None] - math.log(total.shape[-1])
    # (B, template, time) -> (B, template x time) -> (B, 1)
    return network.logits_of((total + log_prior).flatten(1).logsumexp(1, keepdim=True))


def plain_quadratures(network: MatchedFilter1d, x: Tensor) -> list[Tensor]:
    """Return z of every detector, each (B, template, 2 K, num_times + 2 reach)."""
    grid, stride = network.grid, network.stride
    z: dict[int, Tensor] = {}
    for which, channels in enumerate(network.groups):
        reach = max(grid.reach[d] for d in channels)
        number = grid.num_times + 2 * reach
        start = (grid.first - reach) * stride - network.before
        # (channel, B, T) -> (channel x B, T), with silence on either side and whole blocks
        strain = torch.stack([x[:, d] for d in channels]).flatten(0, 1)
        strain = F.pad(strain, (max(-start, 0), network.samples))[:, max(start, 0) :]
        strain = strain[:, : strain.shape[1] // 32 * 32]
        on_basis = strided_correlation(strain, network.filters[which], stride)[..., :number]
        templates = network.templates[which]
        # (template x 2 K, basis) @ (B, basis, time) -> (B, template, 2 K, time)
        found = (
            (templates.flatten(0, 1) @ on_basis)
            .to(network.amplitude.dtype)
            .unflatten(1, (-1, templates.shape[1]))
        )
        for d, own in zip(channels, found.unflatten(0, (len(channels), -1)), strict=True):
            beyond = reach - grid.reach[d]
            z[d] = own[..., beyond : beyond + grid.num_times + 2 * grid.reach[d]]
    return [z[d] for d in range(x.shape[1])]


def plain_power(z: Tensor, weights: Tensor) -> Tensor:
    """Return sum_k w_k P_k: (B, template, 2 K, time) -> (B, template, time)."""
    if weights.ndim == 0:
        return weights * power(z)
    return (z.square() * of_quadratures(weights)).sum(2) / 2


def plain_own(network: MatchedFilter1d, z: Tensor, channel: int) -> Tensor:
    """Return one detector's log-likelihood ratio, (B, template, time)."""
    s = network.variance(channel)
    constant = s.log1p() if s.ndim == 0 else s.log1p().sum(-1, keepdim=True)
    return plain_power(z, s / (1 + s)) - constant


def plain_average(log_ratio: Tensor, k: Tensor) -> Tensor:
    """Return log sum_u k(u) Lambda(t + u): (B, template, time + 2 reach) -> (B, template, time)."""
    extended, num_times = log_ratio.shape[-1], log_ratio.shape[-1] - len(k) + 1
    columns = F.pad(k, (0, num_times)).repeat(num_times)
    # (num_times x (extended + 1),) -> (num_times, extended) -> (extended, num_times)
    banded = columns[: extended * num_times].reshape(-1, extended).T
    largest = log_ratio.detach().amax((1, 2), keepdim=True)
    sums = (log_ratio - largest).exp() @ banded
    loudest = F.max_pool1d(log_ratio, len(k), 1) - math.log(len(k))
    exact = sums.clamp_min(1e-30).log() + largest
    return torch.where(sums > 1e-30, exact, loudest)


def plain_pair(network: MatchedFilter1d, first: Tensor, second: Tensor, log_k: Tensor) -> Tensor:
    """Return the log-likelihood ratio of the pair of detectors, (B, template, time)."""
    s_0, s_1 = (network.variance(channel) for channel in network.pair)
    c = network.correlation.tanh() * (s_0 * s_1).sqrt()
    det = (1 + s_0) * (1 + s_1) - c**2
    scale = c / det if det.ndim == 0 else of_quadratures(c / det)
    own, scaled = plain_power(second, 1 - (1 + s_0) / det), first * scale
    times = first.shape[-1]

    def sum_over_delays(own: Tensor, scaled: Tensor, second: Tensor) -> Tensor:
        terms = []
        for u, log_weight in enumerate(log_k):
            delayed = second[..., u : u + times]
            term = own[..., u : u + times] + log_weight
            for row in range(delayed.shape[2]):
                term = torch.addcmul(term, scaled[:, :, row], delayed[:, :, row])
            terms.append(term)
        return torch.stack(terms).logsumexp(0)

    rows = max(AT_A_TIME // (len(log_k) * own.shape[1:].numel()), 1)
    parts = zip(*(part.split(rows) for part in (own, scaled, second)), strict=True)
    ratio = torch.cat([sum_over_delays(*part) for part in parts])
    log_det = det.log() if det.ndim == 0 else det.log().sum(-1, keepdim=True)
    return plain_power(first, 1 - (1 + s_1) / det) + ratio - log_det
