"""Where in a stretch a detector may hold a glitch that matters to a network.

A network with a glitch hypothesis (see models1d/glitch_hypothesis.py) gives a lower ratio than one
without, except where it leaves a detector out: the others alone may say more than all together. It
does so only in windows in which a glitch has the odds `NEGLIGIBLE` or more, which few windows of
noise have. A search that knows them before it combines detectors has to lower its bounds only
there.

The odds of a window are a sum over all tiles k and times t of it, see `log_glitch_ratio`. The sum
over tiles is formed once for each time of the stretch, and running sums give those of all windows.

A window ends in silence and the stretch goes on, so that both odds differ where something lies at
an end of the window. Odds of 0.05 are found, as tests show; what smaller ones change is less than
the slack of a search.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models1d.glitch_hypothesis import NEGLIGIBLE, log_sum_over_tiles
from models1d.matched_filter1d import MatchedFilter1d
from models1d.strided_correlation import make_frame_kernel
from models1d.template_outputs import combine_basis, power
from runtime.float32_precision import full_precision
from search.filter_outputs import TICKS_AT_A_TIME, DetectorOutputs


@torch.inference_mode()
def find_suspected_ticks(
    network: MatchedFilter1d, channel: int, outputs: DetectorOutputs
) -> Tensor:
    """Return at which ticks the window that is centred there may have a glitch in a detector.

    Args:
        network: with a glitch hypothesis.
        channel: of the network.
        outputs: of the detector that this channel is shown.

    Returns:
        (ticks,) bool.
    """
    glitch, grid = network.glitch, network.grid
    span, times = glitch.span, glitch.span.number
    a = glitch.amplitude[channel].sigmoid()
    sums = sums_over_tiles(network, channel, outputs, a)  # (ticks,), log
    # log(pi G) is the logarithm of the sum over all times and these factors.
    factors = glitch.log_odds[channel] + torch.log1p(-a) - math.log(len(glitch.tiles[0]) * times)
    # Each time's share of the odds that are enough. Shares are cut off at 1, so that running sums
    # stay exact however loud a glitch is.
    shares = (sums.double() + factors - NEGLIGIBLE).clamp_max(0).exp()
    running = torch.cat([shares.new_zeros(1), shares.cumsum(0)])
    # The window of tick t begins grid.first + num_times // 2 ticks before it.
    first = torch.arange(len(sums), device=sums.device)
    first += span.first // span.stride - grid.first - grid.num_times // 2
    begin, end = first.clamp(0, len(sums)), (first + times).clamp(0, len(sums))
    return running[end] - running[begin] >= 1 - 1e-9


def sums_over_tiles(
    network: MatchedFilter1d, channel: int, outputs: DetectorOutputs, a: Tensor
) -> Tensor:
    """Return log sum_k exp(a P_k) at the times of all ticks, (ticks,).

    Sine-Gaussians lie `span.first` modulo the stride after a tick, as those of a window do.
    """
    glitch, bank = network.glitch, outputs.bank
    which = next(i for i, group in enumerate(glitch.groups) if channel in group)
    filters, tiles = glitch.filters[which], glitch.tiles[which]
    kernel = make_frame_kernel(filters, bank.stride)
    # From where the filter of a template begins to where that of a tile does
    shift = bank.before + glitch.span.first % bank.stride - filters.shape[1] // 2
    found = torch.empty(outputs.ticks, device=outputs.device)
    for done in range(0, outputs.ticks, TICKS_AT_A_TIME):
        number = min(TICKS_AT_A_TIME, outputs.ticks - done)
        start = torch.tensor([outputs.sample_of(done) + shift], device=outputs.device)
        on_basis = outputs.on_basis(start, number, kernel, len(filters), bank.stride)
        with full_precision(outputs.device.type):
            powers = power(combine_basis(on_basis, tiles))  # (1, tile, number)
        found[done : done + number] = log_sum_over_tiles(powers, a)[0]
    return found
