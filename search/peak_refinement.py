"""The score of a peak, with arrival times between the ticks of a bank.

Ticks lie some 2 ms apart. At 150 Hz half of that is 0.9 rad between two detectors, so that the
ratio at the nearest tick depends on where a merger falls among them. Around a peak, the outputs of
the filters are therefore interpolated: `fine` times a tick, of arrivals and of delays alike.

The scale of the score does not change. A ratio is an average over times and delays, and a sum over
ticks is a sum over all finer times, each with 1 / fine of the weight. The delays' weights k are
interpolated, and sum to one as before. Where the ratio is smooth from tick to tick both sums agree;
they differ where it is not, and the finer one is right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models1d.matched_filter1d import MatchedFilter1d
from search.bank_statistics import BankStatistic
from search.filter_outputs import DetectorOutputs

HALF_KERNEL = 12  # samples of the interpolation to either side
KAISER = 8.0  # shape of its window: side lobes of -80 dB
MOST_TEMPLATES = 24  # that are interpolated beside a loud peak; the others keep their ticks


@dataclass(frozen=True)
class Fineness:
    """How finely times are resolved around a peak.

    Attributes:
        fine: times a tick, an even number.
        around: ticks before and after the peak's tick.
    """

    fine: int
    around: int

    @classmethod
    def of(cls, log_ratio: float) -> Fineness:
        """Return what a peak of this log-likelihood ratio needs.

        A log ratio L = a P falls with the time t from its peak as L (1 - (2 pi s t)^2), s being the
        spread of the signal's frequencies, some 100 Hz. The ratio is a Gaussian in time with the
        deviation 1 / (2 pi s sqrt(2 L)), for which sums over times no more than two deviations
        apart are exact to a hundredth. Louder peaks are narrower.
        """
        for limit, fine, around in ((40, 4, 8), (120, 8, 4), (500, 16, 2), (2000, 32, 2)):
            if log_ratio < limit:
                return cls(fine, around)
        return cls(64, 2)


@dataclass
class PeakValues:
    """What is known of peaks by one statistic; arrays over the peaks.

    Attributes:
        value: (n,) of the windows around the peaks.
        coarse: (n,) the same at ticks alone, as the network computes it.
        tick: (n,) where the largest value lies, in ticks, with fractions.
        alone: (n, channel) value of each channel alone; NaN without strain.
        template: (n,) the best one.
        snr: (n, channel) SNR of that template; NaN without strain.
    """

    value: np.ndarray
    coarse: np.ndarray
    tick: np.ndarray
    alone: np.ndarray
    template: np.ndarray
    snr: np.ndarray


def interpolation(samples: int, first: float, step: float, count: int) -> Tensor:
    """Return weights that interpolate a band-limited series, (samples, count) float32.

    Args:
        samples: of the series.
        first: the first wanted place, in samples.
        step: between places, in samples.
        count: of places.
    """
    places = first + step * torch.arange(count, dtype=torch.float64)
    distance = torch.arange(samples, dtype=torch.float64)[:, None] - places
    inside = (1 - (distance / HALF_KERNEL).square()).clamp_min(0)
    window = torch.i0(KAISER * inside.sqrt()) / torch.i0(torch.tensor(KAISER).double())
    return (torch.sinc(distance) * window * (inside > 0)).float()


def fine_log_delays(network: MatchedFilter1d, fine: int) -> list[Tensor]:
    """Return log k of the detectors but the reference, `fine` times a tick.

    A tick stands for the delays up to half a tick from it, so that finer delays reach half a tick
    beyond the last tick; the two at the very ends have half the weight, as in the trapezoidal rule.
    """
    found = []
    for channel, log_k in zip(network.grid.others, network.delay, strict=True):
        reach = network.grid.reach[channel]
        last = (2 * reach + 1) * fine // 2  # finer delays to either side
        delays = (
            torch.arange(-last, last + 1, device=log_k.device) / fine + reach
        )  # in ticks from 0
        delays = delays.clamp(0, 2 * reach)
        low = delays.floor().long().clamp_max(max(2 * reach - 1, 0))
        part = delays - low
        values = log_k[low] * (1 - part) + log_k[(low + 1).clamp_max(2 * reach)] * part
        values[[0, -1]] -= math.log(2)
        found.append(values)
    return found


@torch.inference_mode()
def evaluate_peaks(
    statistic: BankStatistic,
    outputs: Sequence[DetectorOutputs | None],
    first_ticks: Sequence[Tensor | None],
    usable: Tensor,
    fineness: Fineness | None,
) -> PeakValues:
    """Return the values of windows whose ranges of arrival times are centred on peaks.

    Args:
        statistic: what to compute.
        outputs: of the network's channels, None without strain.
        first_ticks: of each channel, (n,) the tick that it shows at the first time of each window.
        usable: (n, time) bool, the times of the windows that may be used.
        fineness: of the times around the peaks; None for ticks alone.
    """
    network = statistic.network
    grid, times = network.grid, network.grid.num_times
    z: list[Tensor | None] = [
        own and own.quadratures(first - grid.reach[c], times + 2 * grid.reach[c])
        for c, (own, first) in enumerate(zip(outputs, first_ticks, strict=True))
    ]
    present = [c for c, own in enumerate(z) if own is not None]
    per_template = statistic.of_templates(z)  # (n, template, time)
    none = torch.tensor(-math.inf, device=usable.device)
    values = torch.where(usable, statistic.over_templates(per_template), none)  # (n, time)
    weights = torch.zeros_like(values)
    coarse = statistic.over_times(values, weights)
    alone = {}
    for c in present:
        middle = z[c][..., grid.reach[c] : grid.reach[c] + times]
        of_one = statistic.over_templates(statistic.of_one_detector(middle, c))
        alone[c] = torch.where(usable, of_one, none)
    rows = torch.arange(len(values), device=values.device)
    if fineness is None:
        best_time = values.argmax(1)
        best = (per_template[rows, :, best_time]).argmax(1)
        tick = best_time.double() - times // 2
        value, fine_z, at, reach_of = coarse, z, best_time, list(grid.reach)
    else:
        fine, around = fineness.fine, fineness.around
        region = slice(times // 2 - around, times // 2 + around + 1)
        z_samples = []
        reach_of = [(2 * reach + 1) * fine // 2 for reach in grid.reach]
        reach_of[grid.reference] = 0
        count = (2 * around + 1) * fine
        for c, (own, first) in enumerate(zip(outputs, first_ticks, strict=True)):
            if own is None:
                z_samples.append(None)
                continue
            stride = own.bank.stride
            # Ticks from the first of the region, of the first time that is wanted.
            begin = -0.5 + 0.5 / fine - reach_of[c] / fine
            wanted = count + 2 * reach_of[c]
            margin = -(-math.ceil(-begin * stride + HALF_KERNEL) // stride)  # in ticks
            number = math.ceil((begin + margin + wanted / fine) * stride) + HALF_KERNEL + 1
            at_samples = own.quadratures_at_samples(first + region.start - margin, number)
            weights_of = interpolation(number, (begin + margin) * stride, stride / fine, wanted)
            # (n, template, 2, samples) @ (samples, wanted)
            z_samples.append(at_samples @ weights_of.to(values.device))
        fine_values = statistic.of_templates(z_samples, fine_log_delays(network, fine))
        over = statistic.over_templates(fine_values)  # (n, count)
        # A fine time may be used where its tick may.
        allowed = usable[:, region].repeat_interleave(fine, 1)
        over = torch.where(allowed, over, none)
        light = torch.full_like(over, -math.log(fine))

        def refined(of_ticks: Tensor, of_times: Tensor) -> Tensor:
            """Return values of windows, with the region's ticks replaced by finer times."""
            outside = of_ticks.clone()
            outside[:, region] = none
            joined = torch.cat([outside, of_times], 1)
            return statistic.over_times(joined, torch.cat([weights, light], 1))

        value = refined(values, over)
        for c in present:
            middle = z_samples[c][..., reach_of[c] : reach_of[c] + count]
            of_one = statistic.over_templates(statistic.of_one_detector(middle, c))
            alone[c] = refined(alone[c], torch.where(allowed, of_one, none))
        at = over.argmax(1)
        best = fine_values[rows, :, at].argmax(1)
        tick = (at.double() + 0.5) / fine - 0.5 - around
        fine_z = z_samples
    if fineness is None:
        alone = {c: statistic.over_times(of_ticks, weights) for c, of_ticks in alone.items()}
    n = len(values)
    alone_values, snr = np.full((n, len(z)), np.nan), np.full((n, len(z)), np.nan)
    for c in present:
        alone_values[:, c] = alone[c].double().cpu().numpy()
        # The largest SNR of the best template within the delays that light allows.
        of_best = fine_z[c][rows, best].square().sum(1)  # (n, time + 2 reach)
        places = at[:, None] + torch.arange(2 * reach_of[c] + 1, device=at.device)
        snr[:, c] = of_best.gather(1, places).amax(1).sqrt().double().cpu().numpy()
    return PeakValues(
        value=value.double().cpu().numpy(),
        coarse=coarse.double().cpu().numpy(),
        tick=tick.cpu().numpy(),
        alone=alone_values,
        template=best.cpu().numpy(),
        snr=snr,
    )
