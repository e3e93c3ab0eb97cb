"""What glitches do to the odds of a merger: a third hypothesis in closed form.

Strain may hold a glitch in any detector d, with or without a signal. Let Lambda be the ratio of the
likelihoods of a signal and of noise from all detectors (one template and arrival time, or the mean
over all), Lambda_(-A) that of all detectors but the set A, and G_d the ratio of the likelihoods of
a glitch in d and of noise. Noise and glitches of different detectors are independent. So in units
of the likelihood of noise alone, strain with glitches in the detectors A has the likelihood

    without a signal    prod_(d in A) G_d
    with a signal       prod_(d in A) G_d Lambda_(-A),

where the second neglects what the strain of A, below its glitches, says of the signal; of all
detectors, Lambda_(-A) = 1. If a glitch in d has the odds pi_d, whether or not there is a signal,
the sums over all sets A give the likelihood ratio of a signal

    Lambda' = sum_A prod_(d in A) pi_d G_d Lambda_(-A) / prod_d (1 + pi_d G_d)
            = sum_A prod_(d in A) q_d prod_(d not in A) (1 - q_d) Lambda_(-A),         (1)
    q_d = pi_d G_d / (1 + pi_d G_d).

That is the mean of the ratio over which detectors have glitches, q_d being the probability of one
in d if there is no signal. Where no detector has anything like a glitch, Lambda' = Lambda. Where a
glitch explains d far better than noise does, Lambda' is the larger of Lambda / (pi_d G_d), for a
signal in all detectors that looks more like a merger than like a glitch, and Lambda_(-d): the
detector is left out. A loud detector alone is no merger, whatever its SNR, and neither are two loud
ones that have little in common. (1) holds for each template and time with the same G_d, so that it
holds for their mean as well.

A glitch is a sine-Gaussian of unknown frequency, quality, time, amplitude and phase. With the power
P_k(t) of tile k of the bank (see sine_gaussian_bank.py) and a Gaussian complex amplitude of the
variance s_d = a_d / (1 - a_d) in each quadrature, as in `MatchedFilter1d`,

    G_d = 1 / (K T) sum_(k, t) (1 - a_d) exp(a_d P_k(t)),                           (2)

over all times t at which a glitch meets the filters of the templates. Amplitudes of glitches have
a broad law: a_d is near 1. There the price of a broad law is 1 / (1 - a_d), some units of log G_d.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models1d.sine_gaussian_bank import BASIS, LENGTH, sine_gaussian_filters, sine_gaussian_tiles
from models1d.template_outputs import power, template_outputs
from physics.curves import DetectorNoise

# Initial values. a = 0.98 is a deviation of 7 in each quadrature, a typical SNR of 10.
AMPLITUDE, LOG_ODDS = 0.98, -8.0
# Below these odds a glitch is not worth the time to look at the others alone: it changes (1) by
# less than a thousandth, unless they alone say a thousand times more than all together.
NEGLIGIBLE = math.log(1e-3)

# Returns log Lambda_(-A) of some rows: (A, (rows,)) -> (rows, template, time).
LeaveOut = Callable[[tuple[int, ...], Tensor], Tensor]


@dataclass(frozen=True)
class GlitchSpan:
    """At which places of a window the sine-Gaussians lie, in samples of the decimated window.

    Attributes:
        first: centre of the first one; may be negative.
        number: of places.
        stride: samples between them.
    """

    first: int
    number: int
    stride: int

    @classmethod
    def between(cls, first: int, last: int, stride: int) -> GlitchSpan:
        """Return the places from one sample to another, both in."""
        return cls(first, (last - first) // stride + 1, stride)


class GlitchHypothesis(nn.Module):
    """The odds pi_d G_d of a glitch in each detector, and what they leave of a ratio.

    Trained are a_d and log pi_d of every detector.

    Args:
        noises: of the detectors.
        groups: channels that share filters, see `group_channels`.
        samples: of a window, before the decimation.
        decimate: decimation of the whitening.
        span: where in the decimated window glitches are looked for.
        pretrained: compute the filters; otherwise they are random and of no use until a checkpoint
            replaces them.
    """

    def __init__(
        self,
        noises: Sequence[DetectorNoise],
        groups: Sequence[Sequence[int]],
        samples: int,
        decimate: int,
        span: GlitchSpan,
        pretrained: bool,
    ) -> None:
        super().__init__()
        self.groups, self.span = tuple(groups), span
        rate = noises[0].sample_rate / decimate
        if pretrained:
            first_noises = tuple(noises[channels[0]] for channels in groups)
            filters, tiles = sine_gaussian_filters(first_noises, samples, decimate)
        else:
            length = round(LENGTH * rate)
            shape = (len(groups), len(sine_gaussian_tiles(rate / 2)), 2, BASIS)
            filters = torch.randn(len(groups), BASIS, length) / math.sqrt(length)
            tiles = torch.randn(shape) / math.sqrt(BASIS)
        # Copies, since the bank is kept for other networks.
        self.register_buffer("filters", filters.clone())
        self.register_buffer("tiles", tiles.clone())
        self.amplitude = nn.Parameter(torch.full((len(noises),), AMPLITUDE).logit())
        self.log_odds = nn.Parameter(torch.full((len(noises),), LOG_ODDS))

    def powers(self, x: Tensor, which: int, span: GlitchSpan) -> Tensor:
        """Return P_k(t) of the strain of one detector, (B, tile, span.number).

        Args:
            x: (B, T) whitened strain; outside it there is silence.
            which: number of the detector's filters.
            span: centres of the sine-Gaussians, in samples of x.
        """
        start = span.first - self.filters.shape[-1] // 2
        z = template_outputs(
            x, self.filters[which], self.tiles[which], start, span.number, span.stride
        )
        return power(z.to(self.amplitude.dtype))

    def log_glitch_odds(self, x: Tensor) -> Tensor:
        """Return log(pi_d G_d) of windows: (B, D, T) whitened strain -> (B, D)."""
        odds: dict[int, Tensor] = {}
        for which, channels in enumerate(self.groups):
            # (channel, B, T) -> (channel x B, T), so that they are filtered in one call
            strain = torch.stack([x[:, d] for d in channels]).flatten(0, 1)
            powers = self.powers(strain, which, self.span)
            # (channel x B, tile, time) -> (channel, B, tile, time)
            for d, own in zip(channels, powers.unflatten(0, (len(channels), -1)), strict=True):
                a = self.amplitude[d].sigmoid()
                odds[d] = self.log_odds[d] + log_glitch_ratio(own, a)
        return torch.stack([odds[d] for d in range(x.shape[1])], dim=1)


def log_glitch_ratio(powers: Tensor, a: Tensor) -> Tensor:
    """Return log G of one detector, formula (2): (..., tile, time) -> (...).

    A search that keeps log sum_k exp(a P_k(t)) at each time, from `log_sum_over_tiles`, has the
    same from any stretch of times: sum over them, divide by K T, multiply by 1 - a.

    Args:
        powers: P_k(t) of one detector.
        a: a_d, between 0 and 1, of no dimensions.
    """
    number = math.log(powers.shape[-2] * powers.shape[-1])  # log(K T)
    return log_sum_over_tiles(powers, a).logsumexp(-1) + torch.log1p(-a) - number


def log_sum_over_tiles(powers: Tensor, a: Tensor) -> Tensor:
    """Return log sum_k exp(a P_k(t)): (..., tile, time) -> (..., time)."""
    return (a * powers).logsumexp(-2)


def ratio_beside_glitches(log_ratio: Tensor, log_glitch_odds: Tensor, without: LeaveOut) -> Tensor:
    """Return log Lambda' of formula (1).

    Args:
        log_ratio: log Lambda of all detectors, (B, template, time).
        log_glitch_odds: log(pi_d G_d) of every detector, (B, D); -inf for one without strain.
        without: returns log Lambda_(-A) of rows, with the channels A left out, some of them but
            not all. On a CPU it is called only for rows in which all of A may have glitches
            (`NEGLIGIBLE`), and not at all if there are none.

    Returns:
        (B, template, time).
    """
    with_glitch, quiet = F.logsigmoid(log_glitch_odds), F.logsigmoid(-log_glitch_odds)  # q, 1 - q
    suspected = log_glitch_odds > NEGLIGIBLE  # (B, D)
    # A recorded graph takes all rows, since their number may not depend on what they hold; and a
    # GPU does, since the host would have to wait for each of these numbers.
    all_rows = torch.compiler.is_compiling() or log_ratio.device.type != "cpu"
    total = log_ratio + quiet.sum(1)[:, None, None]
    channels = range(log_glitch_odds.shape[1])
    for size in range(1, len(channels) + 1):
        for left in itertools.combinations(channels, size):
            chosen = torch.stack([suspected[:, d] for d in left]).all(0)  # (left, B) -> (B,)
            if not all_rows and not chosen.any():
                continue
            rows = torch.arange(chosen.shape[0], device=chosen.device)
            rows = rows if all_rows else rows[chosen]
            log_share = sum(
                (with_glitch if d in left else quiet)[rows, d, None, None] for d in channels
            )
            # Where all have glitches, the strain says nothing of a signal: a ratio of 1.
            if size < len(channels):
                log_share = log_share + without(left, rows)
            if all_rows:
                log_share = log_share.masked_fill(~chosen[:, None, None], -math.inf)
                total = torch.logaddexp(total, log_share)
            else:
                total = total.index_copy(0, rows, torch.logaddexp(total[rows], log_share))
    return total
