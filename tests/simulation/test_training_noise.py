"""Training samples in noise of many PSDs, and in noise of a class of one's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from curve_families import write_family
from scipy.linalg import solve_toeplitz

from configuration.class_with_arguments import Part
from data.batch_order import CountedBatchSampler
from physics.bank_settings import BankSettings
from physics.noise import autocovariance
from physics.observation import COMPETITION, Observation
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError
from simulation import dataset_on_the_fly as simulated_dataset
from simulation import whitened_signals
from simulation.dataset_on_the_fly import SimulatedDataset
from simulation.training_noise import Gaussian
from transforms import Whiten

WHITEN = Part(Whiten, decimate=2)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """The competition's observation; H1 and L1 have two curves each."""
    folder = write_family(tmp_path_factory.mktemp("curves") / "a", -1.5, 0.5)
    return dataclasses.replace(COMPETITION, curves=(str(folder), str(folder), "virgo_O4high"))


@pytest.fixture(scope="module", autouse=True)
def small_bank(tmp_path_factory: pytest.TempPathFactory):
    """Serve a bank of a few waveforms, whatever is asked for."""
    folder = tmp_path_factory.mktemp("bank")
    signals = SignalGenerator(
        WaveformBank.build(BankSettings(size=24, seed=3), folder, processes=1)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_dataset, "shared_signals", lambda *_: signals)
        patch.setattr(whitened_signals, "FITTED", 256)  # how well is tested elsewhere
        yield signals


def make(observation: Observation = COMPETITION, **options) -> SimulatedDataset:
    params = {"pool": 16, "samples_per_epoch": 160, "observation": observation}
    return SimulatedDataset(["none.npy"] * 2, [0, 1], **{**params, **options})


def batches(data: SimulatedDataset, start: int = 0) -> list[dict[str, torch.Tensor]]:
    order = CountedBatchSampler(len(data), 16, shuffle=True, counters=(7, 0), start_step=start)
    return [data.__getitems__(indices) for indices in order]


def test_gaussian_by_name_is_the_default() -> None:
    for options in ({}, {"whiten": WHITEN, "reuse": 3}):
        named, default = make(noise=Part(Gaussian), **options), make(**options)
        for one, other in zip(batches(named), batches(default), strict=True):
            assert torch.equal(one["waveform"], other["waveform"])


@pytest.mark.parametrize("options", [{}, {"whiten": WHITEN}])
@pytest.mark.parametrize("reuse", [1, 3])
def test_a_resumed_run_sees_the_same(family: Observation, options: dict, reuse: int) -> None:
    first = batches(make(family, reuse=reuse, **options))
    resumed = batches(make(family, reuse=reuse, **options), start=4)
    for one, other in zip(first[4:], resumed, strict=True):
        assert torch.equal(one["waveform"], other["waveform"])
    heads = torch.cat([batch["waveform"][:, 0, 0] for batch in first])
    assert len(heads.unique()) == len(heads)


def step(data: SimulatedDataset):
    """Return the indices of a step, its pool and the PSDs of its rows."""
    indices = next(iter(CountedBatchSampler(len(data), 16, shuffle=True, counters=(7, 0))))
    pool, chosen = data.pools.of_step(indices)
    others = data.noise_source.draw_psd_numbers(8, data.generator(*indices.counters, indices.rank))
    return indices, pool, chosen[:8], torch.cat([pool.psd_numbers[chosen[:8]], others])


def likelihoods(strain: torch.Tensor, numbers: torch.Tensor, family: Observation) -> np.ndarray:
    """Return x^T C^(-1) x of strain (rows, detector, time), each of its own PSD: (rows, detector).

    By Levinson's recursion in float64, which needs no root of C.
    """
    noises = Gaussian(observation=family).source.curves
    x = strain.double().numpy() / 1e-21
    result = np.empty(numbers.shape)
    for number in numbers.unique().tolist():
        here = (numbers == number).numpy()
        columns = x[here].T  # (time, windows of this PSD)
        solved = solve_toeplitz(autocovariance(noises[number], len(columns)), columns)
        result[here] = (columns * solved).sum(0)
    return result


def test_strain_is_that_of_its_psds(family: Observation) -> None:
    """Raw samples: noise and signal of every row follow the PSDs that were drawn for it."""
    data = make(family)
    indices, pool, chosen, numbers = step(data)
    noise = data.__getitems__(indices)["waveform"][8:]
    power = likelihoods(noise, numbers[8:], family) / 4096
    # A mean of 4,096 squares, s.d. 0.022; the noise has nothing below 10 Hz.
    assert np.abs(power - (1 - 10 / 1024)).max() < 0.1
    squared = likelihoods(pool.signals[chosen], numbers[:8], family).sum(1)
    np.testing.assert_allclose(squared, 1, atol=0.04)  # network SNR one, to 2 %


def test_whitened_signals_are_whitened_by_their_psds(family: Observation) -> None:
    """Inner products of whitened signals are h^T C^(-1) h' of strain, in each detector."""
    data = make(family, whiten=WHITEN)
    drawn = data.signals.draw_placements(6, data.generator(0))
    strain = data.signals.project(**drawn)
    gains = data.whitening.gains(data.whitened.stretch_samples, 2)
    for numbers in ([0, 3, 4], [1, 2, 4]):
        white, _ = data.whitened.whitened_by(drawn, gains[torch.tensor(numbers).expand(6, 3)])
        for detector, number in enumerate(numbers):
            columns = strain[:, detector].double().numpy().T
            lags = autocovariance(data.noise_source.source.curves[number], 4096)
            exact = columns.T @ solve_toeplitz(lags, columns)  # (signal, signal)
            own = (white[:, detector] @ white[:, detector].T).numpy()
            scale = np.sqrt(np.outer(exact.diagonal(), exact.diagonal()))
            # Decimation leaves 0.1 % out, and there is no correction at the edges.
            assert np.abs((own - exact) / scale).max() < 0.03


def test_whitened_noise_is_white_in_every_psd(family: Observation) -> None:
    batch = batches(make(family, whiten=WHITEN))[0]["waveform"]
    assert batch.shape == (16, 3, 2048)
    assert batch[8:].var().item() == pytest.approx(1 - 48 / 2048, abs=0.02)


def test_all_members_are_used(family: Observation) -> None:
    data = make(family, whiten=WHITEN, samples_per_epoch=16 * 60)
    counts = torch.zeros(5, dtype=torch.long)
    for indices in CountedBatchSampler(len(data), 16, shuffle=True, counters=(7, 0)):
        pool, chosen = data.pools.of_step(indices)
        counts += torch.bincount(pool.psd_numbers[chosen].flatten(), minlength=5)
    # 480 signals: half of them for each of two members, s.d. 11
    assert (counts - torch.tensor([240, 240, 240, 240, 480])).abs().max() < 50


def test_noise_of_several_psds_is_mixed_only_when_white(family: Observation) -> None:
    indices = next(iter(CountedBatchSampler(160, 16, shuffle=True, counters=(7, 0))))
    raw, white = (make(family, reuse=4, **options) for options in ({}, {"whiten": WHITEN}))
    assert raw.pools.of_step(indices)[0].noise is None
    assert white.pools.of_step(indices)[0].noise is not None


class Ramp:
    """A class of one's own, which knows nothing of PSDs."""

    def __init__(self, *, observation: Observation = COMPETITION) -> None:
        self.shape = observation.shape

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        level = torch.rand(count, 1, 1, generator=generator)
        return level * torch.ones(count, *self.shape) * 1e-21


class WrongShape(Ramp):
    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        return torch.zeros(count, 5)


class NoNoise:
    pass


def test_any_class_that_samples_serves() -> None:
    batch = batches(make(noise=Part(Ramp), reuse=3))[0]
    noise = batch["waveform"][8:]
    assert torch.equal(noise, noise[:, :1, :1].expand_as(noise))
    white = batches(make(noise=Part(Ramp), whiten=WHITEN))[0]["waveform"][8:]
    assert white.shape == (8, 3, 2048)
    ones = Whiten(decimate=2)(torch.ones(1, 3, 4096) * 1e-21)
    level = (white * ones).sum((1, 2)) / ones.square().sum()  # (8,)
    assert torch.allclose(white, level[:, None, None] * ones, atol=1e-2 * ones.abs().max())


@pytest.mark.parametrize(
    ("cls", "message"), [(NoNoise, "no method sample"), (WrongShape, "expected \\(8, 3, 4096\\)")]
)
def test_what_is_no_noise_is_refused(cls: type, message: str) -> None:
    with pytest.raises(UserError, match=message):
        batches(make(noise=Part(cls), samples_per_epoch=8))
