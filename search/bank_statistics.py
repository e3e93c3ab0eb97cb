"""What a bank's filter outputs of several detectors are combined to: a network's logit, or an SNR.

Both are combined in the same steps. Each template has a value at each time at a reference detector;
templates are brought together, and then the times of a *window*, the range of arrival times of the
network. The network averages ratios over templates and times; a plain matched filter takes the
largest sum of squared SNRs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models1d.glitch_hypothesis import ratio_beside_glitches
from models1d.matched_filter1d import MatchedFilter1d
from models1d.template_outputs import power
from search.filter_outputs import FilterBank, Summary

LOG_RATIOS = (-30.0, 3000.0)  # among which a logit is looked for
# Powers in bf16 are wrong by 2^-8 for each of strain, basis, templates and squares.
ROUNDING = 1.02
# Exponents are cut off where float32 and bf16 would overflow. What an average of such numbers could
# come from counts as without bound, as the largest number that float16 holds.
LARGEST_EXPONENT, CUT_OFF, UNBOUNDED = 60.0, 48.0, 65504.0
# Natural logarithms. A peak is looked for where its own block could hold e^-1 of the window's
# ratio, and where what was found before times between ticks is e^-1 of what is asked for.
SLACK = 1.0
LeaveOut = Callable[[tuple[int, ...], Tensor], Tensor]
Outputs = Sequence[Tensor | None]  # of every channel; None where a detector has no strain


class BankStatistic(Protocol):
    """How the outputs of a bank are combined.

    Attributes:
        network: gives filters, times and delays.
        channels: the channel of the observation that each channel of the network is shown.
        log_ratio_scale: what its values are multiplied by to be about log-likelihood ratios.
        slack: by how much the value of a window may exceed what a bound says of its blocks.
        glitch_slack: by how much more, where a detector may hold a glitch; 0 for a statistic that
            knows no glitches.
    """

    network: MatchedFilter1d
    channels: tuple[int, ...]
    log_ratio_scale: float
    slack: float
    glitch_slack: float

    def of_templates(self, z: Outputs, log_delays: Sequence[Tensor] | None = None) -> Tensor:
        """Return the value of each template at each time, (B, template, time).

        See `MatchedFilter1d.log_ratio` for the arguments.
        """

    def of_one_detector(self, z: Tensor, channel: int) -> Tensor:
        """Return the same of a single detector, from its z (B, template, 2 K, time)."""

    def over_templates(self, values: Tensor) -> Tensor:
        """Bring the templates (dimension 1) together: (B, template, time) -> (B, time)."""

    def over_times(self, values: Tensor, log_weights: Tensor) -> Tensor:
        """Bring times together.

        Args:
            values: (B, time); -inf where there is none.
            log_weights: (B, time), logarithm of how many ticks each time stands for.

        Returns:
            (B,).
        """

    def beside_glitches(self, values: Tensor, strain: Outputs, without: LeaveOut) -> Tensor:
        """Return values of windows with a glitch in one detector as another explanation.

        Args:
            values: (B,).
            strain: whitened windows of every channel, (B, T), None without strain.
            without: returns the values of some windows without some channels: (channels, (rows,))
                -> (rows,).
        """

    def score(self, values: Tensor) -> Tensor:
        """Return the scores of windows, (B,) -> (B,)."""

    def least_value(self, least: float) -> float:
        """Return the smallest value of a window whose score may be at least `least`."""

    def summary(self, channel: int, present: Sequence[bool], reach: int) -> Summary:
        """Return what is kept of the powers of a channel; see `DetectorOutputs.summarise`.

        Args:
            channel: of the network.
            present: of every channel, whether it has strain.
            reach: ticks before and after a block that the summary is given.
        """

    def bound(self, summaries: Outputs, ticks: int) -> Tensor:
        """Return upper bounds of what a block adds to a window, (blocks,).

        Args:
            summaries: of every channel, (template, blocks), None without strain.
            ticks: of a block.
        """


class LikelihoodRatio:
    """The logit of a `MatchedFilter1d`, for a view of the strain.

    A window's value is log R = log sum_{m, t} w_m / T Lambda_m(t), with T the number of ticks of
    the network's own window, however finely times are resolved: T stays the network's
    normalisation.

    Args:
        network: trained or not.
        channels: the channel of the observation that each of its channels is shown.
    """

    log_ratio_scale, slack = 1.0, SLACK

    def __init__(self, network: MatchedFilter1d, channels: Sequence[int]) -> None:
        self.network, self.channels = network, tuple(channels)
        self.log_ticks = math.log(network.grid.num_times)
        # With the glitch of a detector explained, the others alone may say e^2 more than the bound
        # of all together says.
        self.glitch_slack = 0.0 if network.glitch is None else 2.0

    def of_templates(self, z: Outputs, log_delays: Sequence[Tensor] | None = None) -> Tensor:
        return self.network.log_ratio(z, log_delays)

    def of_one_detector(self, z: Tensor, channel: int) -> Tensor:
        return self.network.own_power(z, channel) + self.network.own_constant(channel)

    def over_templates(self, values: Tensor) -> Tensor:
        return (values + self.network.log_prior()[:, None]).logsumexp(1)

    def over_times(self, values: Tensor, log_weights: Tensor) -> Tensor:
        return (values + log_weights).logsumexp(1) - self.log_ticks

    def beside_glitches(self, values: Tensor, strain: Outputs, without: LeaveOut) -> Tensor:
        if self.network.glitch is None:
            return values
        silent = torch.zeros_like(next(x for x in strain if x is not None))
        x = torch.stack([silent if own is None else own for own in strain], 1)  # (B, D, T)
        odds = self.network.glitch.log_glitch_odds(x).to(values.dtype)  # (B, D)
        odds[:, [d for d, own in enumerate(strain) if own is None]] = -math.inf
        # Formula (1) holds for the mean over templates and times as well: (B,) -> (B, 1, 1)
        return ratio_beside_glitches(
            values[:, None, None], odds, lambda left, rows: without(left, rows)[:, None, None]
        )[:, 0, 0]

    def score(self, values: Tensor) -> Tensor:
        return self.network.logits_of(values[:, None])[:, 0]

    @functools.cached_property
    def logits(self) -> tuple[np.ndarray, np.ndarray]:
        """Values of log R on a grid, and the largest logit up to each."""
        grid = torch.linspace(*LOG_RATIOS, 60601, device=self.network.amplitude.device)
        with torch.inference_mode():
            logits = self.score(grid).double().cpu().numpy()
        return grid.double().cpu().numpy(), np.maximum.accumulate(logits)

    def least_value(self, least: float) -> float:
        grid, logits = self.logits
        # the first value whose logit, or that of any smaller value, reaches `least`
        return float(grid[min(np.searchsorted(logits, least), len(grid) - 1)])

    def summary(self, channel: int, present: Sequence[bool], reach: int) -> Summary:
        """Return log mean_t exp(alpha P(t)) of the reference, log max_t of any other's average.

        With log Lambda <= sum_d alpha_d P_d + constant, by `MatchedFilter1d.separable_bound`, what
        a template adds in a block is

            sum_t exp(alpha_r P_r(t)) prod_d sum_u k_d(u) exp(alpha_d P_d(t + u))
                <= sum_t exp(alpha_r P_r(t)) prod_d max_t sum_u k_d(u) exp(alpha_d P_d(t + u)).

        So the averages over times and delays are part of the bound, without which it would be
        larger by e^5 in noise.
        """
        alpha, weights = self.network.separable_bound(present)[0][channel].detach(), None
        if alpha.ndim:
            # The first component's nu is 1, so that its alpha is the same for all templates.
            alpha, weights = alpha[0, 0], alpha / alpha[0, 0]  # (), (template, K)
        alpha = alpha.item() * ROUNDING
        grid = self.network.grid
        if channel == grid.reference:

            def average(powers: Tensor) -> Tensor:
                own = powers[:, reach : powers.shape[1] - reach] * alpha
                return log_average(own.clamp_max_(LARGEST_EXPONENT).exp_().mean(1))

            return Summary(average, weights)
        log_k = self.network.delay[grid.others.index(channel)]
        k = F.softmax(log_k, 0).detach()
        beyond = reach - grid.reach[channel]  # ticks that this channel does not need

        def largest_average(powers: Tensor) -> Tensor:
            ticks = powers.shape[1] - 2 * reach
            near = powers[:, beyond : powers.shape[1] - beyond] * alpha
            near = near.clamp_max_(LARGEST_EXPONENT).exp_()
            # a banded matrix: row t holds k in its columns t to t + 2 reach
            band = torch.zeros(ticks, ticks + len(k) - 1, dtype=near.dtype, device=near.device)
            for u, weight in enumerate(k.tolist()):
                band.diagonal(u).fill_(weight)
            # (ticks, ticks + 2 reach) @ (blocks, ticks + 2 reach, template)
            return log_average(torch.matmul(band, near).amax(1))

        return Summary(largest_average, weights)

    def bound(self, summaries: Outputs, ticks: int) -> Tensor:
        present = [s is not None for s in summaries]
        constant = self.network.separable_bound(present)[1]
        total = sum(s for s in summaries if s is not None) + self.network.log_prior()[:, None]
        # The constant is () or (template, 1).
        return (total + constant).logsumexp(0) + math.log(ticks) - self.log_ticks


class SquaredSNR:
    """The plain matched filter: the largest sum of the detectors' squared SNRs, coincident.

    Each detector's SNR is the largest within the time that light needs from the reference. A
    template's squared SNR is 2 P of its first component: further ones are the network's own.

    Args:
        network: gives filters, times and delays; its weights are not used.
        channels: the channel of the observation that each of its channels is shown.
    """

    log_ratio_scale = 0.4  # of a squared SNR, 2 P, a P is left
    slack, glitch_slack = 2 * SLACK, 0.0

    def __init__(self, network: MatchedFilter1d, channels: Sequence[int]) -> None:
        self.network, self.channels = network, tuple(channels)

    def of_templates(self, z: Outputs, log_delays: Sequence[Tensor] | None = None) -> Tensor:
        grid, total = self.network.grid, 0.0
        for d, own in enumerate(z):
            if own is None:
                continue
            if d == grid.reference:
                total = total + 2 * power(own[:, :, :2])
                continue
            delays = 2 * grid.reach[d] + 1
            if log_delays is not None:
                delays = len(log_delays[grid.others.index(d)])
            total = total + F.max_pool1d(2 * power(own[:, :, :2]), delays, 1)
        return total

    def of_one_detector(self, z: Tensor, channel: int) -> Tensor:
        return 2 * power(z[:, :, :2])

    def over_templates(self, values: Tensor) -> Tensor:
        return values.amax(1)

    def over_times(self, values: Tensor, log_weights: Tensor) -> Tensor:
        return values.amax(1)

    def beside_glitches(self, values: Tensor, strain: Outputs, without: LeaveOut) -> Tensor:
        return values

    def score(self, values: Tensor) -> Tensor:
        return values

    def least_value(self, least: float) -> float:
        return least

    def summary(self, channel: int, present: Sequence[bool], reach: int) -> Summary:
        """Return the largest squared SNR within the time that light needs."""
        beyond = reach - self.network.grid.reach[channel]

        def largest(powers: Tensor) -> Tensor:
            near = powers[:, beyond : powers.shape[1] - beyond]
            return near.amax(1).float().mul_(2 * ROUNDING).clamp_max_(UNBOUNDED)

        return Summary(largest)

    def bound(self, summaries: Outputs, ticks: int) -> Tensor:
        return sum(s for s in summaries if s is not None).amax(0)


def log_average(averages: Tensor) -> Tensor:
    """Return the logarithm of averages of exp(x), of which each x was cut off; see `CUT_OFF`."""
    logs = averages.float().log_()
    return torch.where(logs < CUT_OFF, logs, UNBOUNDED)


def bank_of_channel(network: MatchedFilter1d, channel: int) -> FilterBank:
    """Return the filters of one of a network's channels."""
    which = next(i for i, group in enumerate(network.groups) if channel in group)
    filters = network.filters[which].detach().contiguous()
    templates = network.templates[which].detach().contiguous()
    return FilterBank(filters, templates, network.before, network.stride)
