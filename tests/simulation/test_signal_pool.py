"""The counting of signals: how often each is used, and that a resumed run sees the same."""

from __future__ import annotations

import pytest
import torch

from data.batch_order import CountedBatchSampler
from physics.bank_settings import BankSettings
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from simulation.noise_mixtures import MIXED
from simulation.signal_pool import SignalPools, draw_in_parts
from simulation.unit_signals import UnitSignals


@pytest.fixture(scope="module")
def unit_signals(tmp_path_factory) -> UnitSignals:
    pytest.importorskip("lalsimulation")
    folder = tmp_path_factory.mktemp("bank")
    signals = SignalGenerator(WaveformBank.build(BankSettings(size=24, seed=3), folder, 1))
    return UnitSignals(signals)


def order(samples: int, size: int, **options) -> CountedBatchSampler:
    return CountedBatchSampler(samples, size, shuffle=True, counters=(7, 0), **options)


def used_signals(pools: SignalPools, steps: CountedBatchSampler) -> torch.Tensor:
    """Return the signals of all steps, (signal, detector, time)."""
    found = []
    for indices in steps:
        pool, chosen = pools.of_step(indices)
        found.append(pool.signals[chosen[: (len(indices) + 1) // 2]])
    return torch.cat(found)


@pytest.mark.parametrize("reuse", [1, 3])
def test_a_short_last_batch_takes_signals_that_were_not_used(unit_signals, reuse) -> None:
    signals = used_signals(SignalPools(unit_signals, 8, reuse), order(8 * 11 + 3, 8))
    assert len(signals) == 4 * 11 + 2
    _, counts = signals.double().abs().sum((1, 2)).unique(return_counts=True)
    assert counts.max() == reuse


@pytest.mark.parametrize("reuse", [1, 4])
def test_a_signal_is_used_so_often(unit_signals, reuse) -> None:
    signals = used_signals(SignalPools(unit_signals, 16, reuse), order(16 * 16, 16))
    _, counts = signals.double().abs().sum((1, 2)).unique(return_counts=True)
    assert counts.tolist() == [reuse] * (8 * 16 // reuse)


def test_odd_batches_draw_no_pool_more_than_even_ones(unit_signals, monkeypatch) -> None:
    pools, drawn = SignalPools(unit_signals, 9, 2), []

    def draw(size, *arguments, draw=pools.draw):
        drawn.append(size)
        return draw(size, *arguments)

    monkeypatch.setattr(pools, "draw", draw)
    used_signals(pools, order(5 * 60, 5))
    assert len(drawn) == 60 * 3 / (9 * 2)  # three signals a step, if the middle one holds one


def test_a_resumed_run_takes_the_same_signals(unit_signals) -> None:
    """Also from the middle of a pool, and where a batch crosses into the next pass through it."""
    pools = SignalPools(unit_signals, 20, 3)
    signals = used_signals(pools, order(16 * 9, 16))
    resumed = used_signals(SignalPools(unit_signals, 20, 3), order(16 * 9, 16, start_step=4))
    assert torch.equal(signals[4 * 8 :], resumed)
    other = used_signals(pools, order(16 * 9, 16, epoch=1))
    assert not torch.isin(other[:, 0, 100], signals[:, 0, 100]).any()


def test_noise_is_drawn_in_whole_groups_where_it_may_be_mixed(unit_signals) -> None:
    def draw_noise(count: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(count, 3, 8, generator=generator)

    (indices,) = order(16, 16)
    for reuse, draw in ((1, draw_noise), (2, None)):
        pool, _ = SignalPools(unit_signals, MIXED + 1, reuse, draw_noise=draw).of_step(indices)
        assert pool.noise is None
    pool, _ = SignalPools(unit_signals, MIXED + 1, 2, draw_noise=draw_noise).of_step(indices)
    assert pool.noise.shape == (2 * MIXED, 3, 8)


def test_rows_are_drawn_in_parts_into_memory_of_the_same_size() -> None:
    sizes = []

    def draw(count: int, generator: torch.Generator) -> torch.Tensor:
        sizes.append(count)
        return torch.rand(count, 2, generator=generator)

    memory = torch.zeros(7, 2)
    rows = draw_in_parts(draw, 7, 3, torch.Generator().manual_seed(1), memory)
    assert rows is memory
    assert sizes == [3, 3, 1]
    expected = torch.rand(7, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(rows, expected)
    assert draw_in_parts(draw, 6, 3, torch.Generator(), memory) is not memory
