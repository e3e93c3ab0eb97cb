"""A network that begins as a bank of matched filters and the likelihood of what they see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models1d.classifier import WaveformClassifier
from physics.constants import DETECTORS, NUM_SAMPLES, SAMPLE_RATE, WINDOW_SECONDS
from physics.noise import CURVES
from physics.waveforms import BankSettings
from runtime.errors import UserError, nearest

BLOCK = 32  # samples that the filters' outputs are computed for at once
PAIRED_AT_A_TIME = {"cpu": 2**22}  # numbers, of all delays, that a CPU's caches hold
SMALLEST = 1e-30  # of a sum of likelihoods beside the largest of its row, for float32 to hold it


def strided_correlation(x: Tensor, filters: Tensor, stride: int) -> Tensor:
    """Correlate (B, T) with long filters (C, L) at every `stride`-th place: (B, C, n).

    n is the number of places of whole blocks of `BLOCK` samples that the filters fit on. The
    places of a block are channels of one convolution whose input channels are the samples of a
    block (its polyphase form): a matrix product of sides in the hundreds, where one input channel
    would make a vector's.
    """
    channels, length = filters.shape
    places, blocks = BLOCK // stride, -(-(length + BLOCK - stride) // BLOCK)
    shifted = torch.stack(
        [F.pad(filters, (stride * i, blocks * BLOCK - length - stride * i)) for i in range(places)],
        dim=1,
    )  # (C, place, blocks x BLOCK)
    # (C, place, blocks x BLOCK) -> (C x place, BLOCK, blocks)
    kernel = shifted.reshape(channels * places, blocks, BLOCK).transpose(1, 2)
    # (B, T) -> (B, BLOCK, T / BLOCK) -> (B, C x place, n / place)
    y = F.conv1d(x.unflatten(1, (-1, BLOCK)).transpose(1, 2), kernel)
    # (B, C x place, n / place) -> (B, C, n)
    return y.unflatten(1, (channels, places)).transpose(2, 3).flatten(2)


class MatchedFilter1d(WaveformClassifier):
    """The likelihood ratio of a template bank, its filters and priors to be learnt.

    For white strain x and a whitened template of two orthonormal quadratures p and q,
    P = ((p·x)^2 + (q·x)^2) / 2 is all that the data say of it where amplitude and phase are not
    known. If a detector's complex amplitude is Gaussian with variance s, in units of the noise,
    the ratio of the likelihoods with and without a signal is (1 - a) exp(a P), with
    a = s / (1 + s). The ratios of the detectors are multiplied, each averaged over the delays
    that light allows with respect to the first, and averaged over templates and arrival times:

        R = sum_{m, t} w_m / T  (1 - a_0) exp(a_0 P_0m(t))
            prod_d sum_u k_d(u) (1 - a_d) exp(a_d P_dm(t + u)).

    With `correlation`, the amplitudes of the first two detectors are Gaussian together, with the
    covariance S of s_0, s_1 and rho sqrt(s_0 s_1): detectors as alike as the LIGO ones see a
    signal with nearly the same amplitude and phase, or the opposite one. With z = p·x + i q·x of
    either detector, the ratio at a delay is then exp(z^H S (1 + S)^-1 z / 2) / det(1 + S).

    Learnt are a, rho, the delays' k, the templates' w, and a small network that makes log R a
    logit.
    The filters are a basis and combinations of it; `template_filters` computes what they begin
    with, and with `learn_filters` they go on from there.

    The optimum is more: the sky ties the amplitudes and phases of all detectors to their delays,
    amplitudes are not Gaussian, and templates and arrival times lie denser than here.

    Args:
        in_channels: detectors; the first two are the LIGO ones.
        num_classes: logits; 0 leaves the pooled features.
        pretrained: begin with the whitened templates, for which a bank of waveforms is needed
            (LALSuite, extra `sim`, once); without it, with random filters, which say nothing
            until a checkpoint or training (`learn_filters`) replaces them.
        templates: how many, each of two quadratures.
        basis: filters on the strain whose combinations the templates are.
        before, after: length of a filter before the merger and from it on, s.
        stride: samples between arrival times; divides 32.
        arrival: bounds of the arrival time at the first detector, s after the window begins.
        delays: largest delay of each detector with respect to the first, s.
        amplitudes: what a begins with, one a detector.
        correlation: what rho begins with, at most 0.999 either way; None takes all amplitudes as
            independent, which is cheaper.
        hidden: units of the small network.
        learn_filters: whether basis and templates are trained.
        share_ligo: whether the first two detectors share filters.
        detectors: names of the design curves that the strain is whitened with.
        decimate: of the whitening: strain is sampled at 2,048 Hz / decimate.
        bank_size, bank_seed: of the binaries that the filters begin with.

    Raises:
        UserError: arguments that do not fit together, or strain of another length than 2 s.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1,
        pretrained: bool = False,
        templates: int = 256,
        basis: int = 64,
        before: float = 0.6875,
        after: float = 0.0625,
        stride: int = 4,
        arrival: Sequence[float] = (1.45, 1.86),
        delays: Sequence[float] = (0.0, 0.0115, 0.029),
        amplitudes: Sequence[float] | None = None,
        correlation: float | None = None,
        hidden: int = 16,
        learn_filters: bool = False,
        share_ligo: bool = True,
        detectors: Sequence[str] = DETECTORS,
        decimate: int = 2,
        bank_size: int = 8000,
        bank_seed: int = 1,
    ) -> None:
        super().__init__()
        if amplitudes is None:
            amplitudes = [0.76] * min(in_channels, 2) + [0.6] * max(in_channels - 2, 0)
        self.share_ligo = share_ligo and in_channels > 1
        check_arguments(
            in_channels,
            self.share_ligo,
            delays,
            amplitudes,
            detectors,
            arrival,
            correlation,
            {"templates": templates, "basis": basis, "stride": stride, "decimate": decimate},
        )
        rate = SAMPLE_RATE / decimate
        self.in_channels, self.stride = in_channels, stride
        self.samples = NUM_SAMPLES // decimate
        self.before, self.after = round(before * rate), round(after * rate)
        self.first = math.floor(arrival[0] * rate / stride)  # arrival times are in strides
        self.num_times = math.floor(arrival[1] * rate / stride) - self.first + 1
        self.reach = [math.ceil(delay * rate / stride) for delay in delays]
        names = [detectors[d] for d in range(in_channels) if not (d == 1 and self.share_ligo)]
        shape = (len(names), basis, self.before + self.after)
        if not (before >= 0 and after >= 0 and basis <= shape[-1]):
            raise UserError(
                f"MatchedFilter1d: before = {before}, after = {after}: expected filters of at "
                f"least as many samples as basis = {basis}, and no negative lengths"
            )
        if pretrained:
            from models1d.template_filters import template_filters

            bank = BankSettings(size=bank_size, seed=bank_seed)
            filters, combinations = template_filters(
                tuple(names), templates, basis, self.before, self.after, decimate, bank
            )
        else:
            filters = torch.randn(shape) / math.sqrt(shape[-1])
            combinations = torch.randn(len(names), templates, 2, basis) / math.sqrt(basis)
        for name, values in (("filters", filters), ("templates", combinations)):
            if learn_filters:
                self.register_parameter(name, nn.Parameter(values.clone()))
            else:
                self.register_buffer(name, values.clone())
        self.amplitude = nn.Parameter(torch.tensor(amplitudes).logit())  # a after a sigmoid
        self.correlation = None
        if correlation is not None:
            self.correlation = nn.Parameter(torch.tensor(correlation).atanh())
        # Logarithms of k and w but for constants; the first detector has no delays.
        self.delay = nn.ParameterList(torch.zeros(2 * reach + 1) for reach in self.reach[1:])
        self.prior = nn.Parameter(torch.zeros(templates))
        self.hidden = nn.Linear(1, hidden)
        self.num_features = 1 + hidden
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last layer; it begins as the logarithm of the likelihood ratio itself."""
        super().reset_classifier(num_classes)
        if num_classes:
            nn.init.zeros_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)
            nn.init.ones_(self.classifier.weight[:, 0])

    def filtered(self, x: Tensor, which: int, reach: int) -> Tensor:
        """Return z of strain (B, T): (B, template, 2, time), `reach` beyond the arrival times."""
        first, number = self.first - reach, self.num_times + 2 * reach
        start = first * self.stride - self.before  # of the first filter, maybe before the window
        places = BLOCK // self.stride
        blocks = -(-(self.before + self.after + BLOCK - self.stride) // BLOCK)
        length = (-(-number // places) + blocks - 1) * BLOCK
        # What lies outside the window is silence.
        x = F.pad(x[:, max(start, 0) :][:, : length + min(start, 0)], (max(-start, 0), 0))
        x = F.pad(x, (0, length - x.shape[1]))
        with torch.autocast(x.device.type, enabled=autocasts_safely(x.device.type)):
            u = strided_correlation(x, self.filters[which], self.stride)[..., :number]
            # (template x 2, basis) @ (B, basis, time) -> (B, template x 2, time)
            z = torch.matmul(self.templates[which].flatten(0, 1), u)
        # (B, template x 2, time) -> (B, template, 2, time)
        return z.to(self.amplitude.dtype).unflatten(1, (-1, 2))

    def averaged(self, log_ratio: Tensor, log_weights: Tensor) -> Tensor:
        """Average ratios over delays: (B, template, time + 2 reach) -> (B, template, time).

        In and out are logarithms. A sum over delays is a product with a banded matrix. Where the
        ratios of all delays are too small beside the row's largest to be summed so, as beside a
        loud event, the largest of them stands for the sum, as if delays were equally likely.
        """
        wide, width = log_ratio.shape[-1], len(log_weights)
        log_weights = F.log_softmax(log_weights, 0)
        # Column t of the matrix holds the weights of the delays of t, in its rows t to t + 2 reach.
        columns = F.pad(log_weights.exp(), (0, wide - width + 1)).repeat(wide - width + 1)
        matrix = columns[: wide * (wide - width + 1)].reshape(-1, wide).T
        largest = log_ratio.detach().amax((1, 2), keepdim=True)
        sums = (log_ratio - largest).exp() @ matrix
        near = F.max_pool1d(log_ratio, width, 1) - math.log(width)
        return torch.where(sums > SMALLEST, sums.clamp_min(SMALLEST).log() + largest, near)

    def paired(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the log-likelihood ratio of the first two detectors, averaged over delays.

        Args:
            first: z (B, template, 2, time).
            second: z (B, template, 2, time + 2 reach).
        """
        (s, t), rho = self.amplitude[:2].exp(), self.correlation.tanh()
        both = rho * (s * t).sqrt()
        det = (1 + s) * (1 + t) - both**2
        log_weights = F.log_softmax(self.delay[0], 0) - det.log()
        # S (1 + S)^-1 = 1 - (1 + S)^-1; what its entries multiply is the same at all delays.
        of_second = (1 - (1 + s) / det) * power(second)
        scaled, width = first * (both / det), first.shape[-1]

        def over_delays(of_second: Tensor, scaled: Tensor, second: Tensor) -> Tensor:
            terms = []
            for u, log_weight in enumerate(log_weights):
                there = second[..., u : u + width]
                term = of_second[..., u : u + width] + log_weight
                term = torch.addcmul(term, scaled[:, :, 0], there[:, :, 0])
                terms.append(torch.addcmul(term, scaled[:, :, 1], there[:, :, 1]))
            return torch.stack(terms).logsumexp(0)  # (delay, B, template, time) -> sum of delays

        numbers = len(log_weights) * of_second.shape[1:].numel()  # of a row
        rows = max(PAIRED_AT_A_TIME.get(first.device.type, 2**30) // numbers, 1)  # at a time
        parts = zip(*(part.split(rows) for part in (of_second, scaled, second)), strict=True)
        ratio = torch.cat([over_delays(*part) for part in parts])
        return (1 - (1 + t) / det) * power(first) + ratio

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, D, T) -> (B, template, time): the log-likelihood ratio of each, arriving then."""
        if x.shape[1:] != (self.in_channels, self.samples):
            raise UserError(
                f"MatchedFilter1d: strain of shape {tuple(x.shape)}: expected {self.in_channels} "
                f"detectors and {self.samples} samples: whiten with the network's own decimate"
            )
        if self.share_ligo:
            # (B, 2, T) -> (2B, T) -> two (B, template, 2, time); one call, with the wider reach
            pair = self.filtered(x[:, :2].transpose(0, 1).flatten(0, 1), 0, self.reach[1])
            first, second = pair.unflatten(0, (2, -1))
            seen = [first[..., self.reach[1] : self.reach[1] + self.num_times], second]
        else:
            seen = []
        for d in range(len(seen), self.in_channels):
            seen.append(self.filtered(x[:, d], d - self.share_ligo, self.reach[d]))
        with torch.autocast(x.device.type, enabled=False):
            a = self.amplitude.sigmoid()
            if self.correlation is None:
                ratio, done = a[0] * power(seen[0]) + torch.log1p(-a[0]), 1
            else:
                ratio, done = self.paired(*seen[:2]), 2
            for d in range(done, self.in_channels):
                ratio = ratio + self.averaged(a[d] * power(seen[d]), self.delay[d - 1])
            return ratio + torch.log1p(-a[done:]).sum()

    def forward_head(self, x: Tensor) -> Tensor:
        """(B, template, time) -> (B, num_classes)."""
        with torch.autocast(x.device.type, enabled=False):
            prior = F.log_softmax(self.prior, 0)[:, None] - math.log(x.shape[-1])
            pooled = (x + prior).flatten(1).logsumexp(1, keepdim=True)  # (B, 1)
            features = torch.cat([pooled, F.silu(self.hidden(pooled))], dim=1)
            return self.classifier(features)


def power(z: Tensor) -> Tensor:
    """Return P of z: (B, template, 2, time) -> (B, template, time)."""
    return z.square().sum(2) / 2


def autocasts_safely(device_type: str) -> bool:
    """Whether autocast is on with a type that holds any whitened sample; fp16 overflows."""
    enabled = torch.is_autocast_enabled(device_type)
    return enabled and torch.get_autocast_dtype(device_type) != torch.float16


def check_arguments(
    in_channels: int,
    share_ligo: bool,
    delays: Sequence[float],
    amplitudes: Sequence[float],
    detectors: Sequence[str],
    arrival: Sequence[float],
    correlation: float | None,
    counts: dict[str, int],
) -> None:
    def refuse(what: str) -> NoReturn:
        raise UserError(f"MatchedFilter1d: {what}")

    for name, value in {"in_channels": in_channels, **counts}.items():
        if not isinstance(value, int) or value < 1:
            refuse(f"{name} = {value!r}: expected a whole number of at least 1")
    numbers = {"delays": len(delays), "amplitudes": len(amplitudes), "detectors": len(detectors)}
    if set(numbers.values()) != {in_channels}:
        refuse(f"{numbers}: give each as many as in_channels = {in_channels}")
    for name in detectors:
        if name not in CURVES:
            refuse(f"detector {name!r}{nearest(name, CURVES)}: expected one of {', '.join(CURVES)}")
    if share_ligo and CURVES[detectors[0]] != CURVES[detectors[1]]:
        refuse(
            f"{detectors[0]} and {detectors[1]} have other noise curves and cannot share filters: "
            f"share_ligo=False"
        )
    if correlation is not None and not (
        in_channels > 1 and type(correlation) in (int, float) and abs(correlation) <= 0.999
    ):
        refuse(
            f"correlation = {correlation!r} of {in_channels} detectors: expected a number between "
            f"-0.999 and 0.999 and at least two detectors, or None"
        )
    if BLOCK % counts["stride"]:
        refuse(f"stride = {counts['stride']}: expected a divisor of {BLOCK}")
    if len(arrival) != 2 or not 0 < arrival[0] < arrival[1] < WINDOW_SECONDS:
        refuse(f"arrival = {tuple(arrival)}: expected two rising times within {WINDOW_SECONDS:g} s")
    if delays[0] != 0 or min(delays) < 0:
        refuse(f"delays = {tuple(delays)}: expected them to begin with 0, the first detector's")
    if not all(0 < a < 1 for a in amplitudes):
        refuse(f"amplitudes = {tuple(amplitudes)}: expected numbers between 0 and 1")
