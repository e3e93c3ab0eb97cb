"""Samples drawn for training: their laws, their counting, and the files they are validated on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from configuration.class_with_arguments import Part
from data.batch_order import CountedBatchSampler, IndexBatch
from experiments.quantities import Quantity
from metrics import AUC
from physics.bank_settings import BankSettings
from physics.noise import NoiseGenerator
from physics.observation import Observation
from physics.population import Population, chirp_mass
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError
from signal_transforms import whitening_operators
from simulation import dataset_on_the_fly as simulated_dataset
from simulation.dataset_on_the_fly import SimulatedDataset
from simulation.noise_mixtures import orthogonal_mixtures
from transforms import Whiten

WHITEN = Part(Whiten, decimate=2)
PLAIN = {"pool": 16, "samples_per_epoch": 200}


@pytest.fixture(scope="module", autouse=True)
def small_bank(tmp_path_factory):
    """Serve a bank of a few waveforms, whatever is asked for."""
    bank = WaveformBank.build(
        BankSettings(size=24, seed=3), tmp_path_factory.mktemp("bank"), processes=1
    )
    signals = SignalGenerator(bank)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated_dataset, "shared_signals", lambda *_: signals)
        yield signals


def files(tmp_path, count: int = 6) -> dict:
    paths = []
    for number in range(count):
        paths.append(tmp_path / f"{number:010x}.npy")
        np.save(paths[-1], np.full((3, 4096), 1e-21 * (number + 1)))
    return {"paths": paths, "targets": [number % 2 for number in range(count)]}


def make(tmp_path, **options) -> SimulatedDataset:
    return SimulatedDataset(**files(tmp_path), **{**PLAIN, **options})


def batches(data: SimulatedDataset, size: int = 16, epoch: int = 0, start: int = 0, **options):
    order = CountedBatchSampler(
        len(data), size, shuffle=True, counters=(7, 0), epoch=epoch, start_step=start, **options
    )
    return [data.__getitems__(indices) for indices in order]


def test_a_batch_holds_signals_in_noise(tmp_path) -> None:
    data = make(tmp_path)
    batch = batches(data)[0]
    assert batch["waveform"].shape == (16, 3, 4096)
    assert batch["waveform"].dtype == torch.float32
    assert batch["target"].flatten().tolist() == [1.0] * 8 + [0.0] * 8
    assert sorted(torch.cat([b["index"] for b in batches(data)]).tolist()) == list(range(200))
    white = Whiten()(batch["waveform"][8:])
    assert white.std().item() == pytest.approx(1, abs=0.01)  # 98,304 values


def signals_of(data: SimulatedDataset, indices: IndexBatch) -> torch.Tensor:
    """Return the signals that a batch takes from its pool."""
    pool, chosen = data.pools.of_step(indices)
    return pool.signals[chosen[: (len(indices) + 1) // 2]]


def test_a_batch_is_its_noise_and_its_signals(tmp_path) -> None:
    """At every step, also where the pool's end is passed within a batch."""
    data = make(tmp_path, reuse=3, pool=20, whiten=WHITEN, samples_per_epoch=16 * 8)
    for indices in CountedBatchSampler(len(data), 16, shuffle=True, counters=(7, 0)):
        waveform = data.__getitems__(indices)["waveform"][:8]
        generator = data.generator(*indices.counters, indices.rank)
        pool, _ = data.pools.of_step(indices)
        noise = orthogonal_mixtures(pool.noise, 16, generator)[:8]
        snr = data.signals.draw_snr(8, data.snr, generator)
        expected = noise + signals_of(data, indices) * snr[:, None, None]
        torch.testing.assert_close(waveform, expected, rtol=1e-5, atol=1e-5)


SIDES = [Quantity("merger_time"), Quantity("chirp_mass", True), Quantity("network_snr", scale=2)]


@pytest.mark.parametrize("reuse", [1, 3])
def test_side_targets_are_those_of_the_signals(tmp_path, small_bank, reuse: int) -> None:
    options = {"reuse": reuse, "whiten": WHITEN, "pool": 20, "samples_per_epoch": 96}
    data, without = make(tmp_path, side_targets=SIDES, **options), make(tmp_path, **options)
    masses = chirp_mass(*small_bank.binaries[:, :2].T)  # of the bank
    order = CountedBatchSampler(96, 16, shuffle=True, counters=(7, 0))
    for indices in order:
        batch, plain = data.__getitems__(indices), without.__getitems__(indices)
        # what is drawn does not depend on what is asked for
        torch.testing.assert_close(batch["waveform"], plain["waveform"], rtol=0, atol=0)
        assert batch["target"].shape == (16, 4)
        torch.testing.assert_close(batch["target"][:, :1], plain["target"], rtol=0, atol=0)
        assert batch["target"][8:, 1:].isnan().all()
        time, log_mass, half_snr = batch["target"][:8, 1:].T
        # Whitened signals are loudest within 50 ms of their merger; detectors differ by 21 ms.
        white = signals_of(data, indices)
        loudest = white.square().sum(1).argmax(1) / 1024
        assert (loudest - time).abs().max() < 0.07
        assert (log_mass.exp()[:, None] - masses).abs().min(1).values.max() < 1e-3
        # the SNR that the signal was multiplied by: signals of the pool have norm one
        generator = data.generator(*indices.counters, indices.rank)
        pool, _ = data.pools.of_step(indices)
        noise = (
            data.draw_noise(16, generator)
            if pool.noise is None
            else orthogonal_mixtures(pool.noise, 16, generator)
        )
        snr = ((batch["waveform"] - noise)[:8] * white).sum((1, 2)) / white.square().sum((1, 2))
        torch.testing.assert_close(2 * half_snr, snr, rtol=1e-3, atol=1e-3)


def test_side_targets_that_are_not_drawn_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"side target 'chirp_mas' \(did you mean 'chirp_mass'"):
        make(tmp_path, side_targets=[Quantity("chirp_mas")])


def test_whitened_noise_is_that_of_the_whitening(tmp_path) -> None:
    data = make(tmp_path, whiten=WHITEN)
    drawn = data.draw_noise(400, data.generator(0))
    made = WHITEN.build()(NoiseGenerator().sample(400))
    assert drawn.shape == made.shape == (400, 3, 2048)
    for x in (drawn, made):
        # less 48 of 2,048 frequencies; a mean of 2.4 million values
        assert x.var().item() == pytest.approx(1 - 48 / 2048, abs=0.005)
        # and neighbours are correlated as these take away
        low = (x[..., 1:] * x[..., :-1]).mean().item()
        assert low == pytest.approx(-48 / 2048, abs=0.005)


def test_draws_are_counted(tmp_path) -> None:
    data = make(tmp_path, reuse=3)
    first, again = batches(data), batches(make(tmp_path, reuse=3))
    resumed = batches(make(tmp_path, reuse=3), start=5)
    later = batches(data, epoch=1)
    for key in ("waveform", "target", "index"):
        for one, other in zip(first, again, strict=True):
            assert torch.equal(one[key], other[key])
        for one, other in zip(first[5:], resumed, strict=True):
            assert torch.equal(one[key], other[key])
    waveforms = torch.cat([batch["waveform"][:, 0, 0] for batch in first + later])
    assert len(waveforms.unique()) == len(waveforms)  # no sample comes twice


def test_processes_draw_different_samples(tmp_path) -> None:
    data = make(tmp_path)
    parts = [batches(data, size=8, rank=rank, world_size=2)[0]["waveform"] for rank in (0, 1)]
    assert not torch.equal(*parts)


def test_noise_and_signals_differ_in_nothing_else(tmp_path) -> None:
    """A batch's halves have the same noise, also where a Whiten leaves nothing of it."""
    data = make(tmp_path, whiten=WHITEN, samples_per_epoch=64 * 16, reuse=4, pool=64)
    cosines = whitening_operators.low_frequency_cosines(2048, 1024.0, 12.0, torch.device("cpu"))
    low, targets = [], []
    for batch in batches(data, size=64):
        low.append((batch["waveform"] @ cosines).square().mean((1, 2)))
        targets.append(batch["target"][:, 0])
    score = AUC()(torch.cat(targets), torch.cat(low))
    # of 512 and 512, whose standard deviation is 0.018; rounding of larger values makes it larger
    assert abs(score - 0.5) < 0.15


def test_snr_follows_its_law_and_the_curriculum(tmp_path, monkeypatch) -> None:
    data = make(tmp_path, snr=(5, 20), curriculum=(10, 2.0), whiten=WHITEN)
    assert [data.lowest_snr(p) for p in (0, 1, 2, 3)] == pytest.approx([10, 50**0.5, 5, 5])
    monkeypatch.setattr(data, "draw_noise", lambda size, *_: torch.zeros(size, 3, 2048))
    norms = []
    for progress in (0.0, 5.0):
        indices = IndexBatch(range(400), 1, 0, (7, 0, 0, 0), progress)
        # decimation to below 512 Hz keeps all but a percent of it
        norms.append(data.__getitems__(indices)["waveform"][:200].square().sum((1, 2)).sqrt())
    assert 9.7 < norms[0].min() < 11
    assert 4.8 < norms[1].min() < 5.5
    # half of the law between 5 and 20 lies below the harmonic mean, 8
    assert (norms[1] < 8).float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_odd_batches_have_either_class_in_the_middle(tmp_path) -> None:
    data = make(tmp_path, whiten=WHITEN, samples_per_epoch=3 * 40)
    counts = {int(batch["target"].sum()) for batch in batches(data, size=3)}
    assert counts == {1, 2}


def test_one_sample_a_batch(tmp_path) -> None:
    data = make(tmp_path, whiten=WHITEN, samples_per_epoch=20)
    assert {batch["target"].item() for batch in batches(data, size=1)} == {0.0, 1.0}


def test_real_noise_is_that_of_the_negatives(tmp_path) -> None:
    data = make(tmp_path, noise="real")
    strain = data.draw_noise(100, data.generator(0))
    found = (strain[:, 0, 0] / 1e-21).round().int()
    assert set(found.tolist()) == {1, 3, 5}  # the files with target 0 hold these


def test_files_are_what_it_is_tested_on(tmp_path) -> None:
    data = make(tmp_path, is_test=True)
    assert len(data) == 6
    assert data.ids[0] == "0000000000"
    batch = data.__getitems__([1, 2])
    assert batch["waveform"][:, 0, 0].tolist() == pytest.approx([2e-21, 3e-21])
    assert batch["target"].flatten().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples_per_epoch": 0}, "samples_per_epoch"),
        ({"reuse": 0}, "reuse"),
        ({"pool": 0}, "pool"),
        ({"snr": (8, 4)}, "rising"),
        ({"curriculum": (30, 2)}, "curriculum"),
        ({"curriculum": (10, 0)}, "curriculum"),
        ({"noise": "gausian"}, "did you mean 'gaussian'"),
        ({"whiten": Part(Whiten, band=(20, 500), decimate=2)}, "without a band"),
        ({"whiten": Part(Whiten)}, "decimates"),
        ({"whiten": Part(Whiten, decimate=2, unit=1e-20)}, "decimates"),
        ({"whiten": Part(Whiten, decimate=3)}, "power of two"),
        ({"whiten": Part(Whiten, decimate=2, psds=np.ones((3, 4097)))}, "design curves"),
    ],
)
def test_refusals(tmp_path, options, message) -> None:
    with pytest.raises(UserError, match=message):
        make(tmp_path, **options)


def test_more_refusals(tmp_path) -> None:
    some = files(tmp_path)
    with pytest.raises(UserError, match="target 0"):
        SimulatedDataset(**{**some, "targets": [1] * 6}, noise="real", **PLAIN)
    with pytest.raises(UserError, match="CountedBatchSampler"):
        make(tmp_path).__getitems__([0, 1])


def test_files_are_those_of_its_observation(tmp_path) -> None:
    """Validation and prediction read files of the detectors and the window of the experiment."""
    observation, paths = Observation(("H1", "L1"), sample_rate=1024), []
    for number in range(2):
        paths.append(tmp_path / f"{number:010x}.npy")
        np.save(paths[-1], np.full(observation.shape, 1e-21 * (number + 1)))
    data = SimulatedDataset(paths, [0, 1], is_test=True, observation=observation)
    assert data.__getitems__([0, 1])["waveform"].shape == (2, *observation.shape)
    with pytest.raises(UserError, match=r"expected .3, 4096. of H1 L1 V1 at 2048 Hz"):
        SimulatedDataset(paths, [0, 1], is_test=True).__getitems__([0])


def test_the_population_is_that_of_the_files() -> None:
    defaults = SimulatedDataset.__init__.__kwdefaults__
    assert (defaults["snr"], defaults["population"]) == (None, Population())
    assert Whiten().observation.detectors == ("H1", "L1", "V1")
