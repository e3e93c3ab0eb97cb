"""A bank whose oldest binaries are replaced: which are in it follows from counters alone."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future

import numpy as np
import pytest
import torch

from configuration.class_with_arguments import Part
from data.batch_order import CountedBatchSampler
from physics.bank_settings import BankSettings
from physics.mass_laws import UniformComponents
from physics.observation import Observation
from physics.population import Population
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError
from simulation import fresh_binaries, whitened_signals
from simulation.dataset_on_the_fly import SimulatedDataset
from simulation.fresh_binaries import RenewedBank
from simulation.shared_generators import shared_renewed
from simulation.whitened_signals import WhitenedSignals
from transforms import Whiten

pytest.importorskip("lalsimulation")
BANK = BankSettings(size=12, seed=4)
RUN = (2021, 0, 0)  # seed, fold, rank
# Whitening matrices of half a second are made at once.
SHORT = Observation(detectors=("H1", "L1"), window=0.5)
HEAVY = Population(masses=UniformComponents(40, 50), longest=0.5)


@pytest.fixture(scope="module", autouse=True)
def bank(tmp_path_factory) -> WaveformBank:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("G2NET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield WaveformBank.build(BANK, processes=1)


class OneAfterAnother(Executor):
    """Computes at once and in this process: starting processes takes seconds."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, function, *arguments) -> Future:
        done: Future = Future()
        done.set_result(function(*arguments))
        return done


@pytest.fixture
def at_once(monkeypatch) -> None:
    monkeypatch.setattr(fresh_binaries, "ProcessPoolExecutor", OneAfterAnother)
    monkeypatch.setattr(whitened_signals, "FITTED", 128)


def renewed(bank: WaveformBank) -> RenewedBank:
    signals = SignalGenerator(bank)
    return RenewedBank(signals, WhitenedSignals(signals, Whiten(decimate=2), False), BANK, 4)


def test_the_bank_of_a_generation_is_the_same_whatever_came_before(bank, at_once) -> None:
    one, other = renewed(bank), renewed(bank)
    stored = one.signals.binaries.clone()
    one.move_to(0, RUN)
    assert torch.equal(one.signals.binaries, stored)
    for generation in range(1, 6):
        before = one.signals.binaries.clone()
        one.move_to(generation, RUN)
        changed = (one.signals.binaries != before).any(1)
        assert changed.view(3, 4).all(1).sum() == changed.sum() / 4 == 1  # one block, wholly
        if generation == 2:  # the first binaries of the bank are the last of the stored ones
            assert torch.equal(one.signals.binaries[:4], stored[:4])
    assert not (one.signals.binaries == stored).all(1).any()
    other.move_to(5, RUN)  # a resumed run
    for name in ("binaries", "spectra"):
        assert torch.equal(getattr(one.signals, name), getattr(other.signals, name))
    assert torch.equal(one.whitened.power_beyond, other.whitened.power_beyond)
    # What is derived from the binaries belongs to those that are there now.
    again = WhitenedSignals(other.signals, Whiten(decimate=2), False)
    torch.testing.assert_close(other.whitened.power_beyond, again.power_beyond)
    numbers = {key[1] for key in one.contents}
    assert numbers == {3, 4, 5}
    # Another fold has other binaries, and begins with those that are stored.
    other.move_to(1, (2021, 1, 0))
    assert torch.equal(other.signals.binaries[8:], stored[8:])
    assert not torch.equal(other.signals.binaries[4:8], stored[4:8])
    one.move_to(1, RUN)
    assert not torch.equal(one.signals.binaries[4:8], other.signals.binaries[4:8])


def test_workers_compute_binaries_of_the_law_of_the_bank(bank, monkeypatch) -> None:
    monkeypatch.setattr(fresh_binaries, "NICENESS", 1)
    holder = renewed(bank)
    assert holder.fresh.pool.submit(os.nice, 0).result() == os.nice(0) + 1
    key = (RUN, 1)
    holder.fresh.ask([key])
    waveforms, parameters = holder.fresh.take(key)
    assert waveforms.shape == (4, *bank.waveforms.shape[1:])
    expected = WaveformBank.build(holder.fresh.settings_of(key), processes=1)
    assert np.array_equal(waveforms, expected.waveforms)
    assert np.array_equal(parameters, expected.parameters)


@pytest.mark.parametrize("whiten", [None, Part(Whiten, decimate=2)])
def test_a_resumed_epoch_sees_the_same_samples(whiten, at_once) -> None:
    options = {"bank_size": 12, "bank_seed": 4, "pool": 8, "fresh": 4, "samples_per_epoch": 64}
    options |= {"observation": SHORT, "population": HEAVY}

    def batches(epoch: int, start: int = 0) -> tuple[list[torch.Tensor], RenewedBank]:
        shared_renewed.cache_clear()  # as in another process
        data = SimulatedDataset(["none.npy"] * 2, [0, 1], whiten=whiten, **options)
        order = CountedBatchSampler(64, 8, shuffle=True, epoch=epoch, start_step=start)
        return [data.__getitems__(indices)["waveform"] for indices in order], data.pools.renewed

    (first, bank), (resumed, other) = batches(1), batches(1, start=5)
    for one, again in zip(first[5:], resumed, strict=True):
        assert torch.equal(one, again)
    # Two steps share a pool, so that an epoch has four: the second one ends with generation 7.
    assert [key[1] for key in bank.contents] == [key[1] for key in other.contents] == [6, 7, 5]


def test_refusals() -> None:
    files = {"paths": ["none.npy"] * 2, "targets": [0, 1]}
    with pytest.raises(UserError, match="fresh = 5: expected a divisor of bank_size = 12"):
        SimulatedDataset(**files, bank_size=12, bank_seed=4, fresh=5)
    with pytest.raises(UserError, match="from 0 to bank_size = 12"):
        SimulatedDataset(**files, bank_size=12, fresh=13)
    with pytest.raises(UserError, match="fresh_processes"):
        SimulatedDataset(**files, bank_size=12, fresh_processes=0)
