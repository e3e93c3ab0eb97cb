"""Noise with glitches: how many, in which detectors, how loud, strain and whitened alike."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from competition import window_of
from curve_families import write_family
from scipy.stats import kstest, poisson

from configuration.class_with_arguments import Part
from data.batch_order import CountedBatchSampler
from physics.bank_settings import BankSettings
from physics.observation import Observation
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.errors import UserError
from simulation import dataset_on_the_fly as simulated_dataset
from simulation import whitened_signals
from simulation.dataset_on_the_fly import SimulatedDataset
from simulation.glitch_noise import Glitches
from simulation.spectral_whitening import SpectralWhitening
from transforms import Whiten

SMALL = window_of(1024, "H1", "L1")  # half a second


def glitches_of(noise: Glitches, count: int, decimate: int | None = None, seed: int = 1):
    """Return what is added to silence, (count, detector, time), and the numbers of the PSDs."""
    observation = noise.observation
    whitening = SpectralWhitening(noise.psds, observation, decimate or 1)
    generator = torch.Generator().manual_seed(seed)
    numbers = noise.draw_psd_numbers(count, generator)
    length = observation.num_samples // (decimate or 1)
    silence = torch.zeros(count, observation.num_detectors, length)
    whitened = decimate is not None
    return noise.add_transients(silence, numbers, whitening, whitened, generator), numbers


def test_glitches_are_a_poisson_process_in_each_detector() -> None:
    noise = Glitches(rate=0.8, kinds={"click": 1}, observation=SMALL)
    added, _ = glitches_of(noise, 2000)
    has = (added != 0).any(-1)  # (row, detector)
    expected = 1 - poisson(0.4).pmf(0)  # in half a second
    assert has.double().mean(0).tolist() == pytest.approx([expected] * 2, abs=0.055)  # 5 s.d.
    both = has.all(1).double().mean().item()
    assert both == pytest.approx(expected**2, abs=0.035)  # the detectors are independent
    counts = noise.draw_counts(20000, torch.Generator().manual_seed(2))
    assert counts.double().mean().item() == pytest.approx(0.4, abs=0.025)
    assert counts.double().var().item() == pytest.approx(0.4, abs=0.03)


def test_the_snr_follows_its_law_in_the_psd_of_the_row(tmp_path) -> None:
    """Against families of curves: each glitch is scaled by the member that its row has."""
    folder = write_family(tmp_path / "a", -1, 0.5)
    observation = dataclasses.replace(SMALL, curves=(str(folder), str(folder)))
    noise = Glitches(rate=1, kinds={"blip": 1}, snr=(8, 40), observation=observation)
    whitening = SpectralWhitening(noise.psds, observation)
    numbers = torch.arange(4).repeat(150)
    wave, _ = noise.draw_scaled(numbers, whitening, torch.Generator().manual_seed(3))
    snr = whitening.optimal_snr(wave, numbers)
    for number in range(4):
        logs = (snr[numbers == number] / 8).log() / torch.tensor(5.0).log()
        assert kstest(logs.numpy(), "uniform").pvalue > 1e-4
    assert noise.has_psds
    # And the whitened glitch has that norm: a blip lies within the window, but at its ends.
    equal = Glitches(rate=0.02, kinds={"blip": 1}, snr=(9, 9.001), observation=observation)
    added, drawn = glitches_of(equal, 4000, 2)
    norms = added.square().sum(-1).sqrt()
    assert drawn.unique().tolist() == [0, 1, 2, 3]
    assert norms[norms > 0].median().item() == pytest.approx(9, rel=0.05)


def test_strain_and_whitened_have_the_same_glitches() -> None:
    noise = Glitches(rate=1, kinds={"blip": 1, "sine_gaussian": 1}, observation=SMALL)
    raw, numbers = glitches_of(noise, 60)
    white, again = glitches_of(noise, 60, 2)
    assert torch.equal(numbers, again)
    assert torch.equal((raw != 0).any(-1), (white.abs() > 1e-3).any(-1))
    whiten = Whiten(decimate=2, observation=SMALL)
    expected = whiten(raw)
    overlap = (expected * white).sum(-1) / (expected.norm(dim=-1) * white.norm(dim=-1))
    assert overlap[(raw != 0).any(-1)].median() > 0.99  # those at the ends differ


def test_drop_outs_are_silence() -> None:
    noise = Glitches(rate=2, kinds={"dropout": 1}, observation=SMALL)
    whitening = SpectralWhitening(noise.psds, SMALL)
    ones = torch.ones(200, 2, 1024)
    numbers = noise.draw_psd_numbers(200, None)
    result = noise.add_transients(ones, numbers, whitening, False, torch.Generator().manual_seed(1))
    assert result.unique().tolist() == [0, 1]
    share = (result == 0).any(-1).double().mean().item()
    assert share == pytest.approx(1 - poisson(1).pmf(0), abs=0.12)


@pytest.fixture
def small_bank(tmp_path, monkeypatch):
    bank = WaveformBank.build(BankSettings(size=24, seed=3), tmp_path, processes=1)
    signals = SignalGenerator(bank)
    monkeypatch.setattr(simulated_dataset, "shared_signals", lambda *_: signals)
    monkeypatch.setattr(whitened_signals, "FITTED", 64)  # how well is tested elsewhere


def batches(noise: Part | str, start: int = 0, **options) -> list[torch.Tensor]:
    params = {"pool": 16, "samples_per_epoch": 64, "noise": noise}
    data = SimulatedDataset(["none.npy"] * 2, [0, 1], **{**params, **options})
    order = CountedBatchSampler(64, 16, shuffle=True, counters=(7, 0), start_step=start)
    return [data.__getitems__(indices)["waveform"] for indices in order]


@pytest.mark.parametrize("whiten", [None, Part(Whiten, decimate=2)])
def test_training_samples_have_glitches(small_bank, whiten: Part | None) -> None:
    """With and without a signal, drawn anew at each step, and again when a run is resumed."""
    noise = Part(Glitches, rate=0.5, snr=(50, 100))
    options = {"whiten": whiten, "reuse": 3}
    loud = batches(noise, **options)
    resumed = batches(noise, start=2, **options)
    assert all(torch.equal(a, b) for a, b in zip(loud[2:], resumed, strict=True))
    if whiten is not None:
        peaks = torch.cat(loud).abs().amax(-1)  # noise alone stays below 6
        share = (peaks > 6.5).double()
        assert 0.4 < share.mean() < 0.8  # 1 - exp(-1) is 0.63
        rows = torch.cat([share[k : k + 8].mean(1) for k in range(0, 64, 16)])
        assert 0.3 < rows.mean() < 0.9  # rows with a signal as well


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate"),
        ({"snr": (5, 2)}, "snr"),
        ({"kinds": {"blib": 1}}, "Glitches: kind 'blib' .did you mean 'blip'"),
        ({"kinds": {}}, "Glitches: kinds"),
        ({"noise": Part(Whiten)}, "expected a part such as Gaussian"),
    ],
)
def test_refusals(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Glitches(**options, observation=Observation(detectors=("H1",)))


def test_drop_outs_need_strain(small_bank) -> None:
    noise = Part(Glitches, kinds={"dropout": 1})
    with pytest.raises(UserError, match="drop-out of whitened strain"):
        batches(noise, whiten=Part(Whiten, decimate=2))


def test_noise_is_chosen_by_name() -> None:
    """`--set dataset_params.noise=Glitches`, and a word again."""
    from configs import Wave01
    from configuration.overrides import override

    words = ["dataset_params.noise=Glitches", "dataset_params.noise.rate=0.3"]
    chosen = override(Wave01, words)
    assert chosen.dataset_params["noise"] == Part(Glitches, rate=0.3)
    nested = override(chosen, ["dataset_params.noise.noise=Gaussian"])
    assert repr(nested.dataset_params["noise"].params["noise"]) == "Gaussian()"
    other = override(chosen, ["dataset_params.noise=RealStrain"])
    assert other.dataset_params["noise"].cls.__name__ == "RealStrain"
    assert override(other, ["dataset_params.noise=real"]).dataset_params["noise"] == "real"
