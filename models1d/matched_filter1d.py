"""A network that starts as a bank of matched filters and the likelihood ratio of their outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models1d.arrival_grid import arrival_bounds, largest_delays, make_arrival_grid
from models1d.classifier import WaveformClassifier
from models1d.delay_averages import log_average, log_sum_of_products
from models1d.detector_groups import group_channels
from models1d.glitch_hypothesis import GlitchHypothesis, GlitchSpan, ratio_beside_glitches
from models1d.matched_filter_arguments import (
    check_arguments,
    check_shared_curves,
    find_pair,
    initial_amplitudes,
)
from models1d.template_choice import choose_templates
from models1d.template_filters import FilterShape, template_filters
from models1d.template_outputs import of_quadratures, template_outputs, weighted_power
from models1d.whitened_bank import BankInWindow
from physics.bank_settings import BankSettings, draw_parameters
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from runtime.errors import UserError


class MatchedFilter1d(WaveformClassifier):
    """The likelihood ratio of a template bank, its filters and priors to be learnt.

    For white strain x and a whitened template of two orthonormal quadratures p and q,
    P = ((p·x)^2 + (q·x)^2) / 2 is all that the data say of it where amplitude and phase are not
    known. If a detector's complex amplitude is Gaussian with variance s, in units of the noise,
    the ratio of the likelihoods with and without a signal is (1 - a) exp(a P), with
    a = s / (1 + s). The ratios of the detectors are multiplied, each averaged over the delays
    that light allows with respect to one of them, the reference r, and averaged over templates and
    arrival times at the reference:

        R = sum_{m, t} w_m / T  (1 - a_r) exp(a_r P_rm(t))
            prod_d sum_u k_d(u) (1 - a_d) exp(a_d P_dm(t + u)).

    With `correlation`, the amplitudes of a pair of detectors are Gaussian together, with the
    covariance S of s_0, s_1 and rho sqrt(s_0 s_1): detectors as alike as the LIGO ones see a
    signal with nearly the same amplitude and phase, or the opposite one. With z = p·x + i q·x of
    either detector, the ratio at a delay is then exp(z^H S (1 + S)^-1 z / 2) / det(1 + S).

    Trained are a, rho, the weights k of the delays, the weights w of the templates, and a small
    network that maps log R to a logit. The filters are combinations of a basis;
    `template_filters` computes their initial values, and `learn_filters` trains them too.

    Signals of precessing binaries differ in shape from their nearest template. With `components`
    K > 1 each template has further pairs of quadratures, the principal ways in which they do (see
    template_components.py). Component k of a detector is Gaussian with the variance nu_k s, nu_k
    being its mean share of the power of the first one, and the ratio of a detector is the product
    over k of those above with nu_k s in place of s; that of a pair has nu_k S likewise.

    The optimal statistic knows more than this network: the position on the sky ties the
    amplitudes and phases of all detectors to their delays, amplitudes are not Gaussian, and
    templates and arrival times lie denser than here.

    Args:
        in_channels: detectors; None takes as many as the observation has.
        num_classes: logits; 0 leaves the pooled features.
        pretrained: start with whitened templates, which need a bank of waveforms (LALSuite,
            extra `sim`, once). Otherwise filters are random and of no use until a checkpoint or
            training (`learn_filters`) replaces them.
        templates: number of templates, each of two quadratures.
        basis: number of filters on the strain; templates are combinations of them.
        before, after: length of a filter before the merger and from it on, s.
        stride: samples between arrival times; divides 32.
        arrival: bounds of the arrival time at the reference, s after the window begins; None takes
            those of the population, see `arrival_grid`.
        delays: largest delay of each detector with respect to the reference, s; None takes the time
            that light needs, and a margin.
        amplitudes: initial a of each detector; None begins with 0.76 for those that are at least
            half as sensitive as the best one, and with 0.6 for the others.
        correlation: initial rho, between -0.999 and 0.999; None takes all amplitudes as
            independent, which is cheaper.
        pair: names of the two detectors whose amplitudes are correlated; None is the first two.
            The first of them is the reference. Without `correlation` that is the first detector.
        hidden: units of the small network.
        learn_filters: whether basis and templates are trained.
        share_filters: whether detectors with the same noise curve share filters, or which ones
            do, as groups of their names.
        decimate: decimation of the whitening: strain is sampled at the observation's rate over
            `decimate`.
        bank_size, bank_seed: the bank of binaries that the filters are computed from.
        max_loss: choose the templates, the size of the basis and the length of the filters, so
            that the population loses no more of its SNR in the mean (see `template_choice`), in
            place of `templates`, `basis`, `before` and `after`. None keeps these.
        components: K, of each template: 1 where no spins precess and no higher modes are heard.
        glitches: weigh a glitch in each detector as a third hypothesis, so that one loud detector
            is no merger (see glitch_hypothesis.py).
        observation: detectors, sampling, window and the curves that the strain is whitened with;
            an experiment gives its own.
        population: law of the binaries and of their arrival times; an experiment gives its own.

    Raises:
        UserError: arguments do not fit together, the population's signals do not fit the window,
            the bank loses more than `max_loss`, or the strain is not one window long.
    """

    def __init__(
        self,
        in_channels: int | None = None,
        num_classes: int = 1,
        pretrained: bool = False,
        templates: int = 256,
        basis: int = 64,
        before: float = 0.6875,
        after: float = 0.0625,
        stride: int = 4,
        arrival: Sequence[float] | None = None,
        delays: Sequence[float] | None = None,
        amplitudes: Sequence[float] | None = None,
        correlation: float | None = None,
        pair: Sequence[str] | None = None,
        hidden: int = 16,
        learn_filters: bool = False,
        share_filters: bool | Sequence[Sequence[str]] = True,
        decimate: int = 2,
        bank_size: int = 8000,
        bank_seed: int = 1,
        max_loss: float | None = None,
        glitches: bool = False,
        components: int = 1,
        *,
        observation: Observation = COMPETITION,
        population: Population = COMPETITION_POPULATION,
    ) -> None:
        super().__init__()
        detectors = observation.detectors
        in_channels = len(detectors) if in_channels is None else in_channels
        if correlation is None and pair is not None:
            raise UserError(
                f"MatchedFilter1d: pair = {tuple(pair)} says which amplitudes are correlated: set "
                f"correlation as well, or leave it out"
            )
        self.pair = None if correlation is None else find_pair(detectors, pair)
        reference = 0 if self.pair is None else self.pair[0]
        if arrival is None:
            arrival = arrival_bounds(population.merger_range(observation.window))
        if delays is None:
            delays = largest_delays(detectors, reference)
        if amplitudes is None:
            amplitudes = initial_amplitudes(observation)
        check_arguments(
            in_channels,
            delays,
            amplitudes,
            observation,
            correlation,
            {
                "templates": templates,
                "basis": basis,
                "stride": stride,
                "decimate": decimate,
                "components": components,
            },
        )
        rate = observation.sample_rate / decimate
        self.in_channels, self.stride = in_channels, stride
        self.samples = observation.num_samples // decimate
        # Arrival times and delays are counted in strides from here on.
        self.grid = make_arrival_grid(observation, reference, arrival, delays, rate, stride)
        # Channels that share filters, by the number of their filters.
        self.groups = group_channels(observation, share_filters)
        self.group_of = {d: i for i, channels in enumerate(self.groups) for d in channels}
        check_shared_curves(observation, self.groups)
        first_channels = [channels[0] for channels in self.groups]
        bank = (observation, population, first_channels, decimate, bank_size, bank_seed)
        shape = FilterShape(
            tuple(range(templates)), basis, round(before * rate), round(after * rate), components
        )
        log_weights = torch.zeros(templates)
        if max_loss is not None:
            where = BankInWindow.of(*bank).without_repetition()
            choice = choose_templates(where, max_loss, components)
            shape, log_weights = choice.shape, torch.tensor(choice.weights).log()
        self.members = shape.members  # numbers of the templates in the bank
        self.bank_source = (population, observation, bank_size, bank_seed)
        self.before, self.after = shape.before, shape.after
        length = shape.before + shape.after
        if not (before >= 0 and after >= 0 and shape.basis <= length):
            raise UserError(
                f"MatchedFilter1d: before = {before}, after = {after}: expected filters of at "
                f"least as many samples as basis = {basis}, and no negative lengths"
            )
        if pretrained:
            filters, combinations, shares = template_filters(BankInWindow.of(*bank), shape)
        else:
            filters = torch.randn(len(self.groups), shape.basis, length) / math.sqrt(length)
            combinations = torch.randn(
                len(self.groups), len(shape.members), 2 * components, shape.basis
            ) / math.sqrt(shape.basis)
            shares = torch.ones(len(self.groups), len(shape.members), components)
        for name, values in (("filters", filters), ("templates", combinations)):
            if learn_filters:
                self.register_parameter(name, nn.Parameter(values.clone()))
            else:
                self.register_buffer(name, values.clone())
        # nu of the components, (group, template, K); without further ones there is nothing to keep.
        self.register_buffer("shares", shares.clone() if components > 1 else None)
        # Unbounded parameters: a = sigmoid(amplitude), so that s = a / (1 - a) = exp(amplitude),
        # and rho = tanh(correlation).
        self.amplitude = nn.Parameter(torch.tensor(amplitudes).logit())
        self.correlation = None
        if correlation is not None:
            self.correlation = nn.Parameter(torch.tensor(correlation).atanh())
        # Logarithms of k and w up to constants, which a softmax fixes; k of all detectors but the
        # reference, in the order of the channels.
        self.delay = nn.ParameterList(
            torch.zeros(2 * self.grid.reach[d] + 1) for d in self.grid.others
        )
        self.prior = nn.Parameter(log_weights)
        self.glitch = None
        if glitches:
            self.glitch = GlitchHypothesis(
                [observation.noise(d) for d in range(in_channels)],
                self.groups,
                observation.num_samples,
                decimate,
                self.glitch_span(),
                pretrained,
            )
        self.hidden = nn.Linear(1, hidden)
        self.num_features = 1 + hidden
        self.reset_classifier(num_classes)

    @property
    def ignores_sign(self) -> bool:
        """Whether -x has the logits of x, bit for bit: powers and products do; not for a child."""
        return type(self) is MatchedFilter1d

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last layer, whose logits are at first the log-likelihood ratio itself."""
        super().reset_classifier(num_classes)
        if num_classes:
            nn.init.zeros_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)
            nn.init.ones_(self.classifier.weight[:, 0])

    def glitch_span(self) -> GlitchSpan:
        """Return where in the window a glitch meets the filters of a template."""
        grid, stride = self.grid, self.stride
        reach = max(grid.reach)
        earliest = (grid.first - reach) * stride - self.before
        latest = (grid.first + grid.num_times - 1 + reach) * stride + self.after
        return GlitchSpan.between(max(earliest, 0), min(latest, self.samples) - 1, stride)

    def filtered(self, x: Tensor, which: int, reach: int) -> Tensor:
        """Return z, the quadratures of every template on the strain of one detector.

        Args:
            x: (B, T) whitened strain.
            which: number of the detector's filters.
            reach: strides before and after the arrival times that are wanted as well.

        Returns:
            (B, template, 2 K, num_times + 2 reach).
        """
        first, number = self.grid.first - reach, self.grid.num_times + 2 * reach  # in strides
        start = first * self.stride - self.before  # sample; negative before the window
        filters, combinations = self.filters[which], self.templates[which]
        z = template_outputs(x, filters, combinations, start, number, self.stride)
        return z.to(self.amplitude.dtype)

    def correlated_pair_ratio(
        self, z_first: Tensor, z_second: Tensor, log_weights: Tensor
    ) -> Tensor:
        """Return the log-likelihood ratio of the pair of detectors, averaged over delays.

        With a signal z = (z_0, z_1) has the covariance 1 + S in each quadrature, without it 1.
        Their Gaussian densities have the ratio (see the class)

            log Lambda = z^H M z / 2 - log D,    M = S (1 + S)^(-1) = 1 - (1 + S)^(-1),
            S = [[s_0, c], [c, s_1]],  c = rho sqrt(s_0 s_1),  D = det(1 + S),
            (1 + S)^(-1) = [[1 + s_1, -c], [-c, 1 + s_0]] / D.

        So with P_d = |z_d|^2 / 2 and Re(z_0^* z_1) = p_0 p_1 + q_0 q_1,

            log Lambda = (1 - (1 + s_1) / D) P_0 + (1 - (1 + s_0) / D) P_1
                         + (c / D) (p_0 p_1 + q_0 q_1) - log D.

        Of several components, each with its own S, the logarithms are added.

        Args:
            z_first: (B, template, 2 K, time).
            z_second: (B, template, 2 K, time + 2 reach).
            log_weights: log k(u) up to a constant, (2 reach + 1,).

        Returns:
            (B, template, time).
        """
        s_0, s_1 = (self.variance(channel) for channel in self.pair)  # () or (template, K)
        rho = self.correlation.tanh()
        c = rho * (s_0 * s_1).sqrt()
        det = (1 + s_0) * (1 + s_1) - c**2  # D
        # Computed once for all delays: the second detector's own term, and c / D times z_0.
        own_second = weighted_power(z_second, 1 - (1 + s_0) / det)  # (B, template, time + 2 reach)
        scale = c / det if self.shares is None else of_quadratures(c / det)
        ratio = log_sum_of_products(own_second, z_first * scale, z_second, log_weights)
        log_det = det.log()  # () or (template, K)
        if self.shares is not None:
            log_det = log_det.sum(-1, keepdim=True)  # (template, 1)
        # The first detector's own term is the same at all delays.
        return weighted_power(z_first, 1 - (1 + s_1) / det) + (ratio - log_det)

    def variance(self, channel: int) -> Tensor:
        """Return s of a detector, (), or nu_k s of several components, (template, K)."""
        s = self.amplitude[channel].exp()
        return s if self.shares is None else s * self.shares[self.group_of[channel]]

    def own_power(self, z: Tensor, channel: int, a: Tensor | None = None) -> Tensor:
        """Return what the outputs of one detector add to its log-likelihood ratio, a P.

        Of several components it is sum_k a_k P_k with a_k = nu_k s / (1 + nu_k s):
        (B, template, 2 K, time) -> (B, template, time).

        Args:
            z: of the detector.
            channel: which it is.
            a: of all detectors, (D,), where it is known already.
        """
        if self.shares is None:
            a = self.amplitude.sigmoid() if a is None else a
            return weighted_power(z, a[channel])
        s = self.variance(channel)
        return weighted_power(z, s / (1 + s))

    def own_constant(self, channel: int, a: Tensor | None = None) -> Tensor:
        """Return the constant in one detector's log-likelihood ratio, log(1 - a).

        It is (), or the sum over several components, -sum_k log(1 + nu_k s), (template, 1). See
        `own_power` for the arguments.
        """
        if self.shares is None:
            a = self.amplitude.sigmoid() if a is None else a
            return torch.log1p(-a[channel])
        return -self.variance(channel).log1p().sum(-1, keepdim=True)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return each template's log-likelihood ratio at each arrival time.

        Args:
            x: (B, D, T) whitened strain.

        Returns:
            (B, template, time).

        Raises:
            UserError: the strain has another number of detectors or samples.
        """
        if x.shape[1:] != (self.in_channels, self.samples):
            raise UserError(
                f"MatchedFilter1d: strain of shape {tuple(x.shape)}: expected {self.in_channels} "
                f"detectors and {self.samples} samples: whiten with the network's own decimate"
            )
        z = self.quadratures(x)
        log_ratio = self.log_ratio(z)
        if self.glitch is None:
            return log_ratio

        def without(left: tuple[int, ...], rows: Tensor) -> Tensor:
            return self.log_ratio([None if d in left else own[rows] for d, own in enumerate(z)])

        return ratio_beside_glitches(log_ratio, self.glitch.log_glitch_odds(x), without)

    def log_ratio(
        self, z: Sequence[Tensor | None], log_delays: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Return each template's log-likelihood ratio at each time at the reference.

        A detector without strain says nothing: its ratio is 1, and it is left out of the product.

        Args:
            z: of every detector, (B, template, 2 K, time + 2 reach), None where it has no strain.
                The reach of the reference is 0.
            log_delays: log k up to a constant of all detectors but the reference, in the order of
                `grid.others`, each (2 reach + 1,). None takes those that are trained; others serve
                times that lie denser than these.

        Returns:
            (B, template, time).
        """
        r, others = self.grid.reference, self.grid.others
        log_delays = list(self.delay if log_delays is None else log_delays)
        log_k = dict(zip(others, log_delays, strict=True))  # by channel
        paired = self.correlation is not None and all(z[d] is not None for d in self.pair)
        # Exponents of loud signals overflow in half precision.
        with torch.autocast(self.amplitude.device.type, enabled=False):
            a = self.amplitude.sigmoid()
            # log [(1 - a) exp(a P)] = a P + log(1 - a); all but the reference averaged over delays
            if paired:
                second = self.pair[1]
                log_ratio = self.correlated_pair_ratio(z[r], z[second], log_k[second])
                others = tuple(d for d in others if d != second)
            else:
                log_ratio = 0.0
                if z[r] is not None:
                    log_ratio = self.own_power(z[r], r, a) + self.own_constant(r, a)
            others = [d for d in others if z[d] is not None]
            for d in others:
                own = log_average(self.own_power(z[d], d, a), log_k[d])
                log_ratio = log_ratio + own
            return log_ratio + sum(self.own_constant(d, a) for d in others)

    def separable_bound(self, present: Sequence[bool]) -> tuple[list[Tensor | None], Tensor]:
        """Return an upper bound of the log-likelihood ratio that is a sum over detectors.

        At any delays, log Lambda <= sum_d alpha_d P_d + constant. For a detector of its own that is
        an equality, with alpha = a and the constant log(1 - a). For the pair of detectors (see
        `correlated_pair_ratio`), Re(z_0^* z_1) <= |z_0||z_1| <= (|z_0|^2 + |z_1|^2) / 2 = P_0 + P_1
        gives

            alpha_0 = 1 - (1 + s_1 - |c|) / D,  alpha_1 = 1 - (1 + s_0 - |c|) / D,

        and the constant -log D. For s_0 = s_1 these are the largest eigenvalue of M: for the
        amplitudes that the pair expects, the bound is the ratio itself.

        Args:
            present: of every detector, whether it has strain.

        Returns:
            alpha of every detector, None where it has no strain; and the constant. They are (), and
            with several components (template, K) and (template, 1): alpha_d P_d is then
            sum_k alpha_dk P_dk.
        """
        s = [self.variance(d) if has else None for d, has in enumerate(present)]
        alpha = [own if own is None else own / (1 + own) for own in s]
        constants = {d: self.own_constant(d) for d, has in enumerate(present) if has}
        if self.correlation is not None and all(present[d] for d in self.pair):
            first, second = self.pair
            s_0, s_1 = s[first], s[second]
            c = (self.correlation.tanh() * (s_0 * s_1).sqrt()).abs()
            det = (1 + s_0) * (1 + s_1) - c**2  # D
            alpha[first] = 1 - (1 + s_1 - c) / det
            alpha[second] = 1 - (1 + s_0 - c) / det
            log_det = det.log() if self.shares is None else det.log().sum(-1, keepdim=True)
            constants[first], constants[second] = -log_det, torch.zeros_like(log_det)
        return alpha, torch.stack([*constants.values()]).sum(0)

    def quadratures(self, x: Tensor) -> list[Tensor]:
        """Return z of every detector, each (B, template, 2 K, num_times + 2 reach).

        Detectors that share filters are filtered in one call, with the longest reach among them.

        Args:
            x: (B, D, T) whitened strain.
        """
        z: dict[int, Tensor] = {}
        times = self.grid.num_times
        for which, channels in enumerate(self.groups):
            reach = max(self.grid.reach[d] for d in channels)
            # (channel, B, T) -> (channel x B, T) -> (channel x B, template, 2 K, time)
            strain = torch.stack([x[:, d] for d in channels]).flatten(0, 1)
            filtered = self.filtered(strain, which, reach).unflatten(0, (len(channels), -1))
            for d, own in zip(channels, filtered, strict=True):
                beyond = reach - self.grid.reach[d]  # strides that this detector does not need
                z[d] = own[..., beyond : beyond + times + 2 * self.grid.reach[d]]
        return [z[d] for d in range(self.in_channels)]

    def log_prior(self) -> Tensor:
        """Return log w of the templates, (template,)."""
        return F.log_softmax(self.prior, 0)

    def logits_of(self, log_r: Tensor) -> Tensor:
        """Return the network's outputs for log R: (B, 1) -> (B, num_classes)."""
        return self.classifier(torch.cat([log_r, F.silu(self.hidden(log_r))], dim=1))

    def template_masses(self) -> np.ndarray:
        """Return the detector-frame masses of the templates, (template, 2), in solar masses."""
        population, observation, size, seed = self.bank_source
        settings = BankSettings.of(population, observation, size, seed)
        columns = list(settings.population.columns)
        drawn = draw_parameters(settings)[list(self.members)]
        return drawn[:, [columns.index("mass_1"), columns.index("mass_2")]]

    def forward_head(self, x: Tensor) -> Tensor:
        """(B, template, time) -> (B, num_classes)."""
        with torch.autocast(x.device.type, enabled=False):
            # log R = log sum_{m, t} w_m / T Lambda_m(t)
            log_prior = self.log_prior()[:, None] - math.log(x.shape[-1])
            log_r = (x + log_prior).logsumexp((1, 2))[:, None]  # (B, 1)
            return self.logits_of(log_r)
