"""The ruler: its samples, its statistics against independent references, its files."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT

from benchmarks.detection import __main__ as detection
from benchmarks.detection import report as detection_report
from benchmarks.detection.holdout import BATCH, HoldoutSettings, load_holdout, open_holdout
from benchmarks.detection.likelihood import (
    REACH,
    STEP,
    TABLE_STEPS,
    CoherentSearch,
    coherent_groups,
    draw_orientations,
    interpolation,
    likelihood_table,
    log_amplitude_likelihood,
    samples_around,
)
from benchmarks.detection.networks import DECISIVE, NetworkScorer
from benchmarks.detection.scores import (
    KnownSignal,
    binomial_error,
    detection_figures,
    efficiency,
    load_scores,
    scores_of,
)
from benchmarks.detection.templates import (
    ARRIVAL,
    BANK_SEED,
    MatchedFilter,
    TemplateBank,
    aligned_parameters,
    network_power,
    sliding_max,
)
from configs import Demo, Wave01
from experiments.building import build_model
from physics.constants import DETECTORS, NUM_SAMPLES, SAMPLE_RATE
from physics.detectors import Network
from physics.noise import NoiseGenerator, whitening_matrix
from physics.signals import Population
from physics.waveforms import BEFORE_MERGER, PARAMETERS, STRETCH, BankSettings, compute_waveforms
from runtime.command_line import run_command
from runtime.errors import UserError
from runtime.files import read_json
from training.checkpoints import save_checkpoint

pytest.importorskip("lalsimulation")
CPU = torch.device("cpu")
SMALL = HoldoutSettings(samples=24, bank_size=8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A folder for samples and scores; the whitening matrices stay where they are."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def holdout(cache: Path):
    return open_holdout(SMALL, cache)


@pytest.fixture(scope="module")
def bank() -> TemplateBank:
    return TemplateBank(2)


@pytest.fixture(scope="module")
def coarse() -> TemplateBank:
    return TemplateBank(2, STEP)


# --- the hold-out ----------------------------------------------------------------------------


def test_the_holdout_is_the_same_every_time(holdout, cache, tmp_path) -> None:
    again = open_holdout(SMALL, tmp_path)
    assert again.digest == holdout.digest
    np.testing.assert_array_equal(again.strain, holdout.strain)
    np.testing.assert_array_equal(again.known, holdout.known)
    other = open_holdout(HoldoutSettings(samples=24, bank_size=8, seed=1), cache)
    assert other.digest != holdout.digest


def test_a_smaller_holdout_is_the_beginning_of_a_larger_one(holdout, cache) -> None:
    larger = open_holdout(HoldoutSettings(samples=BATCH + 6, bank_size=8), cache)
    np.testing.assert_array_equal(larger.strain[:24], holdout.strain)
    np.testing.assert_array_equal(larger.snr[:24], holdout.snr)


def test_the_holdout_is_what_it_says(holdout) -> None:
    assert holdout.strain.dtype == np.float32
    assert holdout.targets.tolist() == [0, 1] * 12
    assert (holdout.snr[::2] == 0).all()
    assert ((holdout.snr[1::2] >= 3.7) & (holdout.snr[1::2] <= 27)).all()
    white = whitening_matrix("H1") @ (holdout.strain[::2, 0].T / np.float32(1e-21))
    assert abs(white.std() - 1) < 0.02  # 12 x 4,096 numbers: 0.003
    # unit noise about the SNR, or about zero
    assert np.abs(holdout.known - holdout.snr).max() < 4.5
    assert 0.5 < (holdout.known - holdout.snr).std() < 1.6


def test_no_training_has_seen_its_waveforms() -> None:
    assert HoldoutSettings().bank_seed not in (0, 1)
    assert BANK_SEED not in (0, 1, HoldoutSettings().bank_seed)
    with pytest.raises(UserError, match="networks are trained on the waveforms"):
        HoldoutSettings(bank_seed=1)


def test_a_damaged_holdout_is_drawn_anew(holdout, cache, tmp_path, caplog) -> None:
    first = open_holdout(SMALL, tmp_path)
    (header,) = tmp_path.glob("holdout-*.json")
    array = header.with_suffix(".npy")
    del first
    strain = np.load(array)
    strain[3, 0, 100] *= 1.01
    np.save(array, strain)
    with pytest.raises(UserError, match="does not hold the samples that its header names"):
        load_holdout(header)
    assert open_holdout(SMALL, tmp_path).digest == holdout.digest
    array.write_bytes(array.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        load_holdout(header)
    for text, message in (
        ('{"format": 1}', "lacks a part of its hold-out"),
        ('{"format": 0}', "is not a hold-out of format 1"),
    ):
        header.write_text(text)
        with pytest.raises(UserError, match=message):
            load_holdout(header)


# --- the matched filter ----------------------------------------------------------------------


def quadratures(template: int) -> np.ndarray:
    """Return LALSuite's own h+ and hx of a face-on template: (2, STRETCH) float64."""
    return compute_waveforms(aligned_parameters(2)[template][None], BankSettings())[0].astype(float)


def shifted(series: np.ndarray, arrival: float) -> np.ndarray:
    """Return the window of (2, STRETCH) with the merger at a time in s: (2, 4096)."""
    turns = np.fft.rfftfreq(STRETCH) * (arrival * SAMPLE_RATE - BEFORE_MERGER)
    spectra = np.fft.rfft(series) * np.exp(-2j * np.pi * turns)
    return np.fft.irfft(spectra, STRETCH)[:, :NUM_SAMPLES]


def test_templates_are_face_on_and_aligned() -> None:
    parameters = aligned_parameters(50)
    column = {name: parameters[:, i] for i, name in enumerate(PARAMETERS)}
    assert set(np.unique(column["tilt_1"])) == {0, np.pi}
    assert (column["theta_jn"] == 0).all()
    assert (column["a_1"] >= 0).all()
    assert column["a_1"].max() < 0.99
    plus, cross = quadratures(0)
    hilbert = np.fft.irfft(-1j * np.fft.rfft(plus), STRETCH)
    overlap = hilbert @ cross / np.linalg.norm(hilbert) / np.linalg.norm(cross)
    assert abs(overlap) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("detector", [0, 2])
@pytest.mark.parametrize("arrival", [1.47, 1.5, 1.654296875, 1.83])
def test_filters_are_products_with_whitened_templates(bank, holdout, detector, arrival) -> None:
    """The squared SNR is that of the orthonormalised whitened quadratures, within one percent."""
    time = int(np.abs(bank.times - arrival).argmin())
    series = bank.snr_series(bank.spectra_of(holdout.batch(0, 8)), slice(None))
    ours = series[:, detector, :, time].abs().square().numpy()
    matrix = whitening_matrix(DETECTORS[detector]).astype(float)
    data = holdout.strain[:8, detector].astype(float) / 1e-21 @ matrix  # (rows, 4096)
    for template in range(2):
        white = shifted(quadratures(template), bank.times[time]) @ matrix
        basis, _ = np.linalg.qr(white.T)
        expected = np.square(data @ basis).sum(1)
        np.testing.assert_allclose(ours[:, template], expected, rtol=0.02, atol=0.05)
        # and of data that is the template itself, of SNR 10
        strain = np.zeros((1, 3, NUM_SAMPLES))
        own = shifted(quadratures(template), bank.times[time])[0]
        strain[0, detector] = own * (10 / np.linalg.norm(white[0]) * 1e-21)
        found = bank.snr_series(bank.spectra_of(torch.tensor(strain).float()), slice(None))
        assert float(found[0, detector, template, time].abs()) == pytest.approx(10, rel=0.01)


def test_noise_has_unit_variance_in_either_quadrature(bank) -> None:
    strain = NoiseGenerator().sample(64, torch.Generator().manual_seed(1))
    series = bank.snr_series(bank.spectra_of(strain), slice(None))
    for part in (series.real, series.imag):
        # 64 samples, each of about 20 independent times
        np.testing.assert_allclose(part.var((0, 2, 3)).numpy(), 1, atol=0.12)


def test_every_second_sample_is_the_same_filter(bank, coarse, holdout) -> None:
    strain = holdout.batch(0, 4)
    fine = bank.snr_series(bank.spectra_of(strain), slice(None))
    half = coarse.snr_series(coarse.spectra_of(strain), slice(None))
    both, places, others = np.intersect1d(bank.times, coarse.times, return_indices=True)
    assert len(both) >= len(coarse.times) - 1
    torch.testing.assert_close(half[..., others], fine[..., places], rtol=1e-3, atol=1e-3)
    inner = bank.times[bank.inner]
    assert inner[0] == pytest.approx(ARRIVAL[0], abs=1e-3)
    assert inner[-1] == pytest.approx(ARRIVAL[1], abs=1e-3)


@pytest.mark.parametrize("half", [0, 1, 2, 3, 7, 21, 55])
def test_sliding_max_is_that_of_every_window(half, rng) -> None:
    values = rng.normal(size=(2, 200))
    windows = np.lib.stride_tricks.sliding_window_view(values, 2 * half + 1, axis=-1)
    np.testing.assert_array_equal(
        sliding_max(torch.from_numpy(values), half).numpy(), windows.max(-1)
    )


def test_matched_filter_scores_are_those_of_a_plain_loop(bank, holdout) -> None:
    spectra = bank.spectra_of(holdout.batch(0, 3))
    found = MatchedFilter(2).detection_statistics(bank, spectra).numpy()
    power = bank.snr_series(spectra, slice(None)).abs().square().double().numpy()
    start, stop = bank.inner.start, bank.inner.stop
    for row in range(3):
        total = np.empty((2, stop - start))
        for time in range(start, stop):
            h1, l1, v1 = power[row]
            near, far = slice(time - 21, time + 22), slice(time - 55, time + 56)
            total[:, time - start] = h1[:, time] + l1[:, near].max(1) + v1[:, far].max(1)
        assert found[0, row] == pytest.approx(math.sqrt(total.max()), rel=1e-5)
        assert found[1, row] == pytest.approx(np.log(np.exp(total / 2).mean()), abs=1e-4)


# --- the likelihood --------------------------------------------------------------------------


@pytest.mark.parametrize("z", [0.0, 1.0, 3.0, 5.5, 9.0, 20.0, 30.0])
def test_amplitude_and_phase_are_integrated_as_scipy_does(z: float) -> None:
    from scipy.integrate import dblquad

    low, high = 3.7, 27.0

    def likelihood(phase: float, rho: float) -> float:
        prior = rho**-2 / (1 / low - 1 / high) / (2 * math.pi)
        return prior * math.exp(rho * z * math.cos(phase) - rho**2 / 2 - z**2 / 2)

    # likelihoods are compared after division by exp(z^2 / 2), the largest that there can be
    peak = min(max(z, low), high)
    pieces = sorted({low, max(low, peak - 6), min(high, peak + 6), high})
    expected = sum(
        dblquad(likelihood, a, b, -math.pi, math.pi, epsabs=1e-12, epsrel=1e-6)[0]
        for a, b in itertools.pairwise(pieces)
    )
    ours = float(log_amplitude_likelihood(np.array(z), (low, high))) - z**2 / 2
    assert math.exp(ours) == pytest.approx(expected, rel=1e-4)


def test_noise_has_a_mean_likelihood_ratio_of_one() -> None:
    """|Z|^2 of noise is exponential, of mean two; the mean of any likelihood ratio is one."""
    table = likelihood_table((3.7, 27.0)).numpy()
    square = (np.arange(len(table)) + 0.5) / TABLE_STEPS
    assert (table * np.exp(-square / 2) / 2).sum() / TABLE_STEPS == pytest.approx(1, rel=1e-3)


def test_interpolation_is_exact_for_cubics() -> None:
    delay = np.array([-5.3, 0.0, 0.25, 6.9])
    weights, lag = interpolation(delay, 9)
    offsets = np.arange(-9, 10)
    np.testing.assert_allclose(weights @ (offsets**3 - 2 * offsets), delay**3 - 2 * delay)
    np.testing.assert_allclose(lag[1], -offsets)
    with pytest.raises(ValueError, match="exceed 9"):
        interpolation(np.array([8.5]), 9)


def test_orientations_follow_the_populations_law() -> None:
    draws = draw_orientations(20_000)
    weights = np.array(Population.weights)
    # by weights instead of rejection, from other draws
    uniform = torch.rand(4, 200_000, generator=torch.Generator().manual_seed(3))
    dec, cos_i = (2 * uniform[1] - 1).asin(), (2 * uniform[3] - 1).double().numpy()[:, None]
    plus, cross = Network(DETECTORS).antenna_patterns(
        2 * math.pi * uniform[0], dec, math.pi * uniform[2]
    )
    power = (plus.double().numpy() * (1 + cos_i**2) / 2) ** 2 + (cross.numpy() * cos_i) ** 2
    amplitude = np.sqrt(power @ weights)
    expected = (power * amplitude[:, None]).sum(0) / amplitude.sum()
    found = np.square(np.abs(draws.response)).mean(0)
    np.testing.assert_allclose(found, expected, rtol=0.03)
    assert (draws.delay[:, 0] == 0).all()
    assert 0.0095 < np.abs(draws.delay[:, 1]).max() < 0.0101
    assert 0.025 < np.abs(draws.delay[:, 2]).max() < 0.0274


def test_coherent_snr_of_a_signal_is_its_own(coarse) -> None:
    """A template placed as a draw says has Z = SNR for that draw, whatever its phase and time."""
    draws = draw_orientations(40)
    rng = np.random.default_rng(5)
    template = 1
    both = np.fft.rfft(quadratures(template)[0])
    analytic = np.stack([both, -1j * both])
    matrices = [whitening_matrix(name).astype(float) for name in DETECTORS]
    losses = []
    for k in range(40):
        arrival, phase = rng.uniform(1.5, 1.8), rng.uniform(0, 2 * np.pi)
        time = int(np.abs(coarse.times - arrival).argmin())
        arrival = coarse.times[time] + (k % 4) / 4 / 1024  # up to a step late
        strain, total = np.empty((1, 3, NUM_SAMPLES)), 0.0
        for d in range(3):
            p, q = np.fft.irfft(analytic, STRETCH)
            turned = p * np.cos(phase) - q * np.sin(phase), p * np.sin(phase) + q * np.cos(phase)
            p, q = shifted(np.stack(turned), arrival + draws.delay[k, d])
            a = draws.response[k, d]
            strain[0, d] = a.real * p + a.imag * q
            total += np.square(matrices[d] @ strain[0, d]).sum()
        strain *= 12 / math.sqrt(total) * 1e-21
        series = coarse.snr_series(coarse.spectra_of(torch.tensor(strain).float()), slice(None))
        scale = coarse.norms[:, template, coarse.norms.shape[-1] // 2].double().numpy()
        (group,) = coherent_groups(
            type(draws)(draws.response[k : k + 1], draws.delay[k : k + 1]),
            scale,
            float(coarse.centres[template]),
        )
        found = []
        for at in (time, time + 1):  # the later one where it came nearly a step late
            around = samples_around(series[:, :, template], torch.tensor([0]), torch.tensor([at]))
            z = around[:, :, group.columns].flatten(1) @ group.weights
            found.append(float(z.norm()) / math.sqrt(TABLE_STEPS))
        losses.append(1 - max(found) / 12)
    assert max(losses) < 0.025  # half a step late
    assert np.mean(losses) < 0.01
    assert min(losses) > -0.005
    assert max(losses[::4]) < 0.005  # in time


def plain_likelihood(series: np.ndarray, bank: TemplateBank, draws) -> tuple[float, float]:
    """Return log of the mean likelihood ratio of one sample, and its largest |Z|, by loops."""
    reach = max(REACH.values())
    ratios, largest = [], 0.0
    step = STEP / SAMPLE_RATE
    offsets = np.arange(-reach, reach + 1)
    for template in range(len(bank)):
        scale = bank.norms[:, template, bank.norms.shape[-1] // 2].double().numpy()
        centre = float(bank.centres[template])
        for response, delay in zip(draws.response, draws.delay, strict=True):
            weight = response * scale / np.linalg.norm(response * scale)
            for time in range(bank.inner.start, bank.inner.stop):
                z = 0j
                for d in range(3):
                    # a polynomial through the four samples around the delay
                    near = np.sort(
                        np.argsort(
                            np.abs(offsets + 0.0 - (np.floor(delay[d] / step) + 0.5)), kind="stable"
                        )[:4]
                    )
                    x = offsets[near] * step
                    y = series[d, template, time + offsets[near]] * np.exp(-2j * np.pi * centre * x)
                    fit = sum(
                        y[i]
                        * np.prod([(delay[d] - x[j]) / (x[i] - x[j]) for j in range(4) if j != i])
                        for i in range(4)
                    )
                    z += weight[d] * fit * np.exp(2j * np.pi * centre * delay[d])
                largest = max(largest, abs(z))
                ratios.append(z)
    ratios = np.exp(log_amplitude_likelihood(np.abs(np.array(ratios)), (3.7, 27.0)))
    return math.log(ratios.mean()), largest


def test_likelihood_is_that_of_plain_loops(coarse, holdout) -> None:
    draws = draw_orientations(3)
    spectra = coarse.spectra_of(holdout.batch(0, 2))
    search = CoherentSearch(coarse, draws, (3.7, 27.0), share=1)
    found = search.detection_statistics(spectra).numpy()
    series = coarse.snr_series(spectra, slice(None)).to(torch.complex128).numpy()
    for row in range(2):
        expected, largest = plain_likelihood(series[row], coarse, draws)
        assert found[0, row] == pytest.approx(expected, abs=0.02)
        assert found[1, row] == pytest.approx(largest, rel=1e-3)


def test_the_cells_left_out_do_not_matter(coarse, holdout) -> None:
    spectra = coarse.spectra_of(holdout.batch(0, 8))
    draws = draw_orientations(100)
    every = (
        CoherentSearch(coarse, draws, (3.7, 27.0), share=1).detection_statistics(spectra).numpy()
    )
    search = CoherentSearch(coarse, draws, (3.7, 27.0), share=0.25)
    some = search.detection_statistics(spectra).numpy()
    assert (some[0] <= every[0] + 1e-6).all()
    assert (every[0] - some[0]).max() < 0.6
    np.testing.assert_allclose(some[1], every[1], rtol=1e-6)
    series = coarse.snr_series(spectra, slice(None))
    power = network_power(series.abs().square(), coarse)
    # the coherent SNR cannot exceed the incoherent one, up to interpolation
    assert (every[1] <= 1.02 * power.flatten(1).amax(1).sqrt().numpy() + 0.1).all()
    chosen = search.choose(power)
    assert (chosen.flatten(1).sum(1) == math.ceil(chosen[0].numel() / 4)).all()


# --- what scores are worth -------------------------------------------------------------------


def test_figures_are_those_of_the_scores(rng) -> None:
    targets = np.arange(4000) % 2
    snr = np.where(targets == 1, rng.uniform(3.7, 15, 4000), 0)
    found = detection_figures(targets, snr, rng.normal(size=4000) + snr)
    assert [grade["low"] for grade in found["grades"]] == [0.0, 4.5, 6.0, 8.0, 12.0]
    assert found["grades"][-1]["high"] is None
    assert sum(grade["signals"] for grade in found["grades"]) == 2000
    aucs = [grade["auc"] for grade in found["grades"]]
    assert aucs == sorted(aucs)
    # the threshold at 0.1 lies at 1.28
    expected = np.mean([0.5 * math.erfc((1.2816 - s) / 2**0.5) for s in snr[targets == 1]])
    at = found["efficiencies"]["0.1"]
    assert abs(at["efficiency"] - expected) < 3 * at["error"]
    assert at["error"] >= at["binomial_error"] > 0
    assert json.loads(json.dumps(found)) == found
    assert found["roc"][0][0] == 0.001
    efficiencies = [pair[1] for pair in found["roc"]]
    assert efficiencies == sorted(efficiencies)


def test_errors_of_efficiencies(rng) -> None:
    assert binomial_error(0.5, 10_000) == pytest.approx(0.005, rel=1e-3)
    assert binomial_error(1.0, 100) > 0
    spread = []
    for _ in range(200):
        scores = np.concatenate([rng.normal(size=500), rng.normal(size=500) + 2])
        spread.append(efficiency(np.arange(1000) // 500, scores, 0.01))
    observed = np.std([each["efficiency"] for each in spread])
    assert observed == pytest.approx(np.mean([each["error"] for each in spread]), rel=0.35)


class Counting:
    """A scorer that says how often it was asked."""

    key, names = "counting", ("counting",)

    def __init__(self, value: float = 0.0) -> None:
        self.value, self.calls = value, 0

    def settings(self) -> dict:
        return {"value": self.value}

    def rows(self, holdout) -> int:
        return len(holdout)

    def compute(self, holdout, device, show_progress=None) -> np.ndarray:
        self.calls += 1
        return np.full((1, len(holdout)), self.value)


def test_scores_are_computed_once(holdout, tmp_path) -> None:
    scorer = Counting()
    first = scores_of(scorer, holdout, CPU, tmp_path)
    again = scores_of(scorer, holdout, CPU, tmp_path)
    assert scorer.calls == 1
    assert (first.kept, again.kept) == (False, True)
    np.testing.assert_array_equal(first.values, again.values)
    scores_of(scorer, holdout, CPU, tmp_path, anew=True)
    scores_of(Counting(1.0), holdout, CPU, tmp_path)
    assert scorer.calls == 2
    assert len(list(tmp_path.glob("scores-*.npy"))) == 2


def test_damaged_scores_are_computed_anew(holdout, tmp_path) -> None:
    scorer = Counting()
    scores_of(scorer, holdout, CPU, tmp_path)
    (header,) = tmp_path.glob("scores-*.json")
    header.with_suffix(".npy").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not a plain numpy array"):
        load_scores(header, read_json(header)["settings"], (1, 24))
    np.testing.assert_array_equal(scores_of(scorer, holdout, CPU, tmp_path).values, 0)
    assert scorer.calls == 2
    with pytest.raises(UserError, match="does not hold the scores"):
        load_scores(header, {"other": 1}, (1, 24))


def test_scores_that_are_not_numbers_are_refused(holdout, tmp_path) -> None:
    with pytest.raises(UserError, match="24 of them NaN"):
        scores_of(Counting(math.nan), holdout, CPU, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_known_signal_is_scored(holdout, tmp_path) -> None:
    scores = scores_of(KnownSignal(), holdout, CPU, tmp_path)
    assert detection_figures(holdout.targets, holdout.snr, scores.values[0])["auc"] > 0.95


# --- networks --------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path) -> Path:
    for fold in range(2):
        torch.manual_seed(fold)
        save_checkpoint(
            tmp_path / "demo" / f"fold{fold}.pt", {"model": build_model(Demo).state_dict()}
        )
        (tmp_path / "demo" / f"fold{fold}_last.pt").write_bytes(b"not to be read")
    return tmp_path


def test_a_run_is_scored_by_the_mean_of_its_folds(holdout, runs) -> None:
    scorer = NetworkScorer(Demo, runs / "demo")
    assert [path.name for path in scorer.weights()] == ["fold0.pt", "fold1.pt"]
    both = scorer.compute(holdout, CPU)
    assert both.shape == (1, 24)
    digest = scorer.settings()["weights"]["fold1.pt"]
    (runs / "demo" / "fold1.pt").rename(runs / "fold1.pt")
    first = scorer.compute(holdout, CPU)
    (runs / "demo" / "fold0.pt").unlink()
    (runs / "fold1.pt").rename(runs / "demo" / "fold0.pt")
    second = scorer.compute(holdout, CPU)
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-6)
    assert scorer.settings()["weights"] == {"fold0.pt": digest}
    assert np.abs(first - second).max() > 1e-3


def test_runs_that_are_not_there_or_another_network(runs) -> None:
    with pytest.raises(UserError, match=r"fold<k>\.pt to score Demo with"):
        NetworkScorer(Demo, runs / "nothing").weights()
    plain = Demo.to_plain() | {"model_params": {"other": 1}}
    (runs / "demo" / "config.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match="trained with another model_params"):
        NetworkScorer(Demo, runs / "demo").weights()


def write_run(folder: Path, drawn: int | None = None, **changes: object) -> None:
    """Write the files of a run of two folds, of three, that say what it took."""
    np.save(folder / "folds.npy", np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]))
    lines = [
        "fold,epoch,train_seconds,valid_seconds",
        "0,1,10,1",
        "0,2,11,1",
        "1,1,12,1",
        "2,1,90,9",
    ]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    params = {} if drawn is None else {"samples_per_epoch": drawn}
    plain = Demo.to_plain() | {"dataset_params": params, "weight_path": "before"} | changes
    (folder / "config.json").write_text(json.dumps(plain))
    starts = [{"device": device, "threads": 2} for device in ("cpu", "cpu")]
    (folder / "run.json").write_text(json.dumps({"starts": starts}))


@pytest.mark.parametrize(
    ("config", "drawn", "seen"),
    [(Demo, None, 2 * 6 + 7), (Demo, 500, 3 * 500), (Wave01, None, 3 * 65_536)],
)
def test_the_budget_is_what_was_seen(runs, config, drawn, seen) -> None:
    folder, scorer = runs / "demo", NetworkScorer(config, runs / "demo")
    assert scorer.budget() is None
    write_run(folder, drawn)
    plain = json.loads((folder / "config.json").read_text())
    plain |= {key: config.to_plain()[key] for key in DECISIVE}
    (folder / "config.json").write_text(json.dumps(plain))
    budget = scorer.budget()
    assert budget == {
        "samples": seen,
        "folds": 2,
        "seconds": 36.0,
        "device": "cpu",
        "threads": 2,
        "from": "before",
    }
    results = {"detectors": {"demo": {"auc": 0.8, "budget": budget}, "known": {"auc": 0.9}}}
    lines = detection_report.format_budgets(results)
    assert f"| demo | {seen:,} | 2 | 36 s | CPU, 2 threads | before |" in lines


def test_budgets_that_are_not_known(runs) -> None:
    folder, scorer = runs / "demo", NetworkScorer(Demo, runs / "demo")
    write_run(folder, pseudo_labels={"source": "demo"})
    assert scorer.budget()["samples"] is None
    (folder / "run.json").write_text(json.dumps({"starts": []}))
    with pytest.raises(UserError, match="do not say what its training took"):
        scorer.budget()


# --- the command line ------------------------------------------------------------------------


@pytest.fixture
def own_cache(cache, monkeypatch) -> Path:
    """Let the command keep its samples and scores apart, but not compute the matrices again."""
    from benchmarks.detection import templates as detection_templates
    from physics import cached_files, noise

    original, home = noise.whitening_matrix, cached_files.cache_folder()

    def matrix(detector: str, *args, **kwargs) -> np.ndarray:
        return original(detector, *args, **{**kwargs, "cache_dir": home})

    monkeypatch.setattr(noise, "whitening_matrix", matrix)
    monkeypatch.setattr(detection_templates, "whitening_matrix", matrix)
    monkeypatch.setenv("G2NET_CACHE", str(cache))
    return cache


QUICK = [
    "--samples",
    "24",
    "--bank",
    "2",
    "--templates",
    "2",
    "3",
    "--draws",
    "20",
    "--share",
    "0.1",
    "--device",
    "cpu",
]


def test_the_command_writes_table_plots_and_json(own_cache, runs, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    line = [*QUICK, "--out", str(out), "--results", str(runs)]
    assert detection.main(line) == 0
    before = {path: path.stat().st_mtime_ns for path in own_cache.glob("scores-*.npy")}
    assert detection.main([*line, "--config", "Demo", "--near_optimal", "0"]) == 0
    for path, when in before.items():  # adding a network computes nothing else again
        assert path.stat().st_mtime_ns == when
    results = detection_report.load_detection(out / "detection.json")
    assert set(results["detectors"]) == {
        "known waveform and time",
        "near-optimal, 2 templates",
        "near-optimal, 3 templates",
        "coherent maximum, 2 templates",
        "coherent maximum, 3 templates",
        "matched filter, maximum",
        "matched filter, log-mean-exp",
        "demo",
    }
    for entry in results["detectors"].values():
        assert 0 <= entry["auc"] <= 1
        assert entry["samples"] == 24
        assert set(entry["efficiencies"]) == {"0.1", "0.01", "0.001"}
    for name in ("detection.md", "detection-efficiency.png", "detection-roc.png"):
        assert (out / name).stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "| known waveform and time | 24 |" in printed
    assert f"written: {out / 'detection.json'}" in printed


def test_figures_of_other_samples_are_not_mixed(tmp_path) -> None:
    one, rounded, two = (
        {"samples": 24, "signals": 12, "known": known, "settings": {"snr": [3.7, 27.0], "seed": 0}}
        for known in ([5.0, 8.0], [5.0, 8.0002], [5.0, 8.1])
    )
    entry = {
        "scorer": "x",
        "samples": 24,
        "seconds": 61.0,
        "device": "cpu",
        "threads": 1,
        **detection_figures(np.arange(24) % 2, np.arange(24) % 2 * 5.0, np.arange(24.0)),
    }
    record = detection_report.record_detection
    record(tmp_path, one, {"first": entry})
    path = record(tmp_path, rounded, {"second": entry})
    assert set(read_json(path)["detectors"]) == {"first", "second"}
    assert "x 1 min 01 s on cpu" in path.with_suffix(".md").read_text()
    for other in (two, {**two, "samples": 20}, {**two, "settings": {**two["settings"], "seed": 1}}):
        record(tmp_path, other, {"second": entry})
        assert set(read_json(path)["detectors"]) == {"second"}
        record(tmp_path, two, {"second": entry})
        record(tmp_path, two, {"third": entry})
    path.write_text("{}")
    with pytest.raises(UserError, match="holds no detectors' results"):
        record(tmp_path, one, {"first": entry})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "3"], "--samples 3: expected 4 or more"),
        (["--samples", "24", "--seed", "-1"], "--seed -1: expected 0 or more"),
        (["--near_optimal", "2"], "--near_optimal 2: expected 0 for none"),
        (["--bank", "0"], "--bank 0: expected 1 or more"),
        (["--share", "0"], "--share 0: expected above 0"),
        (["--templates", "0", "5"], "--templates 0: expected 1 or more"),
        (["--samples", "24", "--out", str(ROOT / "benchmarks" / "results")], "are too few to"),
        (["--samples", "24", "--config", "Demoo"], "there is no config 'Demoo'"),
        (["--samples", "24", "--config", "Demo", "--results", "/nowhere"], "holds no fold<k>.pt"),
        (["--samples", "24", "--tta"], "name some with --config"),
        (["--samples", "24", "--device", "tpu"], "expected cpu, cuda or cuda:N"),
        (["--sample"], "shows what there is"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as error:
        run_command(lambda: detection.main(arguments))
    assert error.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_numbers_have_the_digits_that_their_errors_need() -> None:
    text = detection_report.format_with_error
    assert text(0.85512, 0.0061) == "0.855 ± 0.006"
    assert text(0.99943, 0.0001) == "0.9994 ± 0.0001"
    assert text(1.0, 0.0) == "1.0000"


# --- the record ------------------------------------------------------------------------------


def test_the_page_is_not_stale() -> None:
    path = detection_report.RESULTS / "detection.json"
    results = detection_report.load_detection(path)
    assert results["holdout"]["samples"] >= detection.RECORD_SAMPLES
    text = detection_report.PAGE.read_text()
    assert text == detection_report.replace_section(text, results), (
        "run: python -m benchmarks.detection --page"
    )
    for name in ("detection-efficiency.png", "detection-roc.png"):
        assert (detection_report.FIGURES / name).is_file()


def test_the_known_ceilings_come_out() -> None:
    """The record's AUC agree within two errors with what other samples of the same law gave."""
    results = detection_report.load_detection(detection_report.RESULTS / "detection.json")
    for name in detection_report.EXPECTED:
        assert detection_report.sigmas_apart(name, results["detectors"][name]) < 2, name


def test_a_page_without_marks_is_refused() -> None:
    results = detection_report.load_detection(detection_report.RESULTS / "detection.json")
    with pytest.raises(UserError, match="put them back"):
        detection_report.replace_section("nothing", results)
