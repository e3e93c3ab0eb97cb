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


@dataclass(frozen=True)
class TimesAround:
    """Outputs of all channels at the times around some peaks.

    Attributes:
        z: of each channel, (n, template, 2 K, time + 2 reach), None without strain.
        reach: times before and after that each channel is known at as well.
        number: of times.
    """

    z: Sequence[Tensor | None]
    reach: Sequence[int]
    number: int

    def middle(self, channel: int) -> Tensor:
        """Return the outputs of a channel at the times themselves, (n, template, 2 K, time)."""
        reach = self.reach[channel]
        return self.z[channel][..., reach : reach + self.number]

    def snr(self, channel: int, rows: Tensor, template: Tensor, time: Tensor) -> Tensor:
        """Return the largest SNR of a template of each row for the delays around a time, (n,)."""
        squares = self.z[channel][rows, template].square().sum(1)  # (n, time + 2 reach)
        near = time[:, None] + torch.arange(2 * self.reach[channel] + 1, device=time.device)
        return squares.gather(1, near).amax(1).sqrt()


def outputs_at_ticks(
    network: MatchedFilter1d,
    outputs: Sequence[DetectorOutputs | None],
    first_ticks: Sequence[Tensor | None],
) -> TimesAround:
    """Return the outputs at all ticks of the network's range of arrival times."""
    reach, times = network.grid.reach, network.grid.num_times
    z = [
        own and own.quadratures(first - reach[c], times + 2 * reach[c])
        for c, (own, first) in enumerate(zip(outputs, first_ticks, strict=True))
    ]
    return TimesAround(z, reach, times)


def outputs_between_ticks(
    network: MatchedFilter1d,
    outputs: Sequence[DetectorOutputs | None],
    first_ticks: Sequence[Tensor | None],
    fineness: Fineness,
) -> TimesAround:
    """Return the outputs `fine` times a tick, in the ticks around the middle of the range.

    A tick stands for the times up to half a tick from it. The finer times of a detector and of the
    reference lie alike, so that delays are whole multiples of 1 / fine.
    """
    grid, fine = network.grid, fineness.fine
    region = grid.num_times // 2 - fineness.around  # its first tick
    number = (2 * fineness.around + 1) * fine
    z: list[Tensor | None] = []
    reach = [
        0 if c == grid.reference else (2 * ticks + 1) * fine // 2
        for c, ticks in enumerate(grid.reach)
    ]
    for own, first, beyond in zip(outputs, first_ticks, reach, strict=True):
        if own is None:
            z.append(None)
            continue
        stride, wanted = own.bank.stride, number + 2 * beyond
        # The first time that is wanted, in ticks from the region's first tick.
        begin = -0.5 + (0.5 - beyond) / fine
        margin = math.ceil((HALF_KERNEL - begin * stride) / stride)  # ticks
        samples = math.ceil((begin + margin + wanted / fine) * stride) + HALF_KERNEL + 1
        at_samples = own.quadratures_at_samples(first + region - margin, samples)
        weights = interpolation(samples, (begin + margin) * stride, stride / fine, wanted)
        # (n, template, 2, samples) @ (samples, wanted)
        z.append(at_samples @ weights.to(at_samples.device))
    return TimesAround(z, reach, number)


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
    times, middle = network.grid.num_times, network.grid.num_times // 2
    present = [c for c, own in enumerate(outputs) if own is not None]
    nothing = torch.tensor(-math.inf, device=usable.device)

    def over_templates(per_template: Tensor, allowed: Tensor) -> Tensor:
        """Return values at times, (n, time), -inf where they may not be used."""
        return torch.where(allowed, statistic.over_templates(per_template), nothing)

    around = outputs_at_ticks(network, outputs, first_ticks)
    per_template = statistic.of_templates(around.z)  # (n, template, time)
    of_ticks = over_templates(per_template, usable)
    alone = {
        c: over_templates(statistic.of_one_detector(around.middle(c), c), usable) for c in present
    }
    coarse = statistic.over_times(of_ticks, torch.zeros_like(of_ticks))
    if fineness is None:
        value, best_time = coarse, of_ticks.argmax(1)
        tick = best_time.double() - middle
        alone = {c: statistic.over_times(v, torch.zeros_like(v)) for c, v in alone.items()}
    else:
        fine = fineness.fine
        region = slice(middle - fineness.around, middle + fineness.around + 1)
        # A finer time may be used where its tick may.
        allowed = usable[:, region].repeat_interleave(fine, 1)
        around = outputs_between_ticks(network, outputs, first_ticks, fineness)
        per_template = statistic.of_templates(around.z, fine_log_delays(network, fine))
        of_times = over_templates(per_template, allowed)
        # Each finer time stands for 1 / fine of a tick, and the region's ticks for nothing.
        log_weights = torch.zeros(len(usable), times + around.number, device=usable.device)
        log_weights[:, times:] = -math.log(fine)
        log_weights[:, region] = -math.inf

        def over_times(ticks: Tensor, finer: Tensor) -> Tensor:
            outside = ticks.clone()
            outside[:, region] = nothing  # a largest value has no weights
            return statistic.over_times(torch.cat([outside, finer], 1), log_weights)

        value, best_time = over_times(of_ticks, of_times), of_times.argmax(1)
        tick = (best_time.double() + 0.5) / fine - 0.5 - fineness.around
        alone = {
            c: over_times(
                alone[c], over_templates(statistic.of_one_detector(around.middle(c), c), allowed)
            )
            for c in present
        }
    rows = torch.arange(len(usable), device=usable.device)
    template = per_template[rows, :, best_time].argmax(1)
    shape = (len(usable), len(outputs))
    alone_values, snr = np.full(shape, np.nan), np.full(shape, np.nan)
    for c in present:
        alone_values[:, c] = alone[c].double().cpu().numpy()
        snr[:, c] = around.snr(c, rows, template, best_time).double().cpu().numpy()
    return PeakValues(
        value=value.double().cpu().numpy(),
        coarse=coarse.double().cpu().numpy(),
        tick=tick.cpu().numpy(),
        alone=alone_values,
        template=template.cpu().numpy(),
        snr=snr,
    )
