"""What a glitch in one detector does to the odds of a merger: a third hypothesis in closed form.

Besides a signal and noise alone, strain may hold a glitch in one detector d, with or without a
signal. Let Lambda be the ratio of the likelihoods of a signal and of noise from all detectors (one
template and arrival time, or the mean over all), Lambda_(-d) that of all detectors but d, and G_d
the ratio of the likelihoods of a glitch in d and of noise. The noise of detectors is independent,
so that the likelihoods of strain x, in units of that of noise alone, are

    noise and a glitch in d     G_d
    a signal                    Lambda
    a signal and a glitch in d  G_d Lambda_(-d),

where the last neglects what the strain of d, below its glitch, says of the signal. If a glitch in d
has the odds pi_d, whether or not there is a signal, and two detectors with glitches at once are
neglected, then a signal has the likelihood ratio

    Lambda' = (Lambda + sum_d pi_d G_d Lambda_(-d)) / (1 + sum_d pi_d G_d).        (1)

Without a glitch all pi_d G_d are small, and Lambda' = Lambda. Where a glitch explains d far better
than noise does, Lambda' is the larger of Lambda / (pi_d G_d), for a signal in all detectors that
looks more like a merger than like a glitch, and Lambda_(-d): the detector is left out. A loud
detector alone is no merger, whatever its SNR. (1) holds for each template and time with the same
G_d, so that it holds for their mean as well.

A glitch is a sine-Gaussian of unknown frequency, quality, time, amplitude and phase. With the power
P_k(t) of tile k of the bank (see sine_gaussian_bank.py) and a Gaussian complex amplitude of the
variance s_d = a_d / (1 - a_d) in each quadrature, as in `MatchedFilter1d`,

    G_d = 1 / (K T) sum_(k, t) (1 - a_d) exp(a_d P_k(t)),                           (2)

over all times t at which a glitch meets the filters of the templates. Amplitudes of glitches have
a broad law: a_d is near 1. There the price of a broad law is 1 / (1 - a_d), some units of log G_d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models1d.sine_gaussian_bank import BASIS, LENGTH, sine_gaussian_filters, sine_gaussian_tiles
from models1d.template_outputs import power, template_outputs
from physics.curves import DetectorNoise

# Initial values. a = 0.98 is a deviation of 7 in each quadrature, a typical SNR of 10.
AMPLITUDE, LOG_ODDS = 0.98, -8.0
# Below it a glitch is not worth the time to look at the others alone: it changes (1) by less than
# a thousandth, unless they alone say a thousand times more than all together.
NEGLIGIBLE = math.log(1e-3)

# Returns log Lambda_(-d) of some rows: (d, (rows,)) -> (rows, template, time).
LeaveOut = Callable[[int, Tensor], Tensor]


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
        without: returns log Lambda_(-d) of rows. It is called only for rows in which detector d
            may have a glitch (`NEGLIGIBLE`), and not at all if there is none.

    Returns:
        (B, template, time).
    """
    # log(1 + sum_d pi_d G_d): the 1 is exp(0)
    nothing = torch.zeros_like(log_glitch_odds[:, :1])
    evidence = torch.cat([nothing, log_glitch_odds], dim=1).logsumexp(1, keepdim=True)  # (B, 1)
    # Subtracted first: where a glitch is loud, its log G is large, and its share nearly 1.
    log_shares = log_glitch_odds - evidence  # (B, D)
    total = log_ratio - evidence[:, :, None]
    for d in range(log_glitch_odds.shape[1]):
        chosen = log_glitch_odds[:, d] > NEGLIGIBLE  # (B,)
        if torch.compiler.is_compiling():
            # A recorded graph takes all rows, since their number may not depend on what they hold.
            left_out = log_shares[:, d, None, None] + without(
                d, torch.arange(chosen.shape[0], device=chosen.device)
            )
            left_out = left_out.masked_fill(~chosen[:, None, None], -math.inf)
            total = torch.logaddexp(total, left_out)
        elif chosen.any():
            rows = chosen.nonzero()[:, 0]
            left_out = log_shares[rows, d, None, None] + without(d, rows)
            total = total.index_copy(0, rows, torch.logaddexp(total[rows], left_out))
    return total
