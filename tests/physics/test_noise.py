"""Noise curves, covariance, whitening and drawn noise, beside bilby, scipy and the curves."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from competition import SAMPLES, noise_of, window_of
from curve_families import write_family

from physics import noise
from physics.curves import find_curve
from physics.noise import NoiseGenerator, autocovariance, symmetric_power, toeplitz
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError
from signal_transforms.whitening import Whiten

FS = 2048


def test_the_ligo_curve_is_the_one_bilby_ships() -> None:
    bilby = pytest.importorskip("bilby")
    psd = bilby.gw.detector.PowerSpectralDensity(asd_file="aLIGO_O4_high_asd.txt")
    frequencies = np.arange(10.25, 1024.01, 0.125)
    theirs = np.sqrt(psd.power_spectral_density_interpolated(frequencies))
    # The same rows, the same interpolation: what is left is rounding.
    np.testing.assert_allclose(noise_of("H1").asd(frequencies), theirs, rtol=1e-12)


def test_the_virgo_curve_is_the_measured_one(shared: Path) -> None:
    table = np.loadtxt(
        shared / "data" / "noise" / "virgo_O4high_asd.csv", delimiter=",", skiprows=1
    )
    np.testing.assert_allclose(noise_of("V1").asd(table[:, 0]), table[:, 1], rtol=1e-12)


def test_curves_end_at_10_hz_and_ligo_is_held_flat() -> None:
    for name in COMPETITION.detectors:
        values = noise_of(name).asd(np.array([0.0, 9.999, 10.0, 10.1]))
        assert values[0] == values[1] == 0
        assert values[2] > 0
    held = noise_of("L1").asd(np.array([10.0, 10.1, 10.21659]))
    np.testing.assert_allclose(held, 6.662774e-21, rtol=1e-12)


def test_a_wrong_detector_or_frequency_is_named() -> None:
    with pytest.raises(UserError, match="'H2'"):
        Observation(detectors=("H2",))
    with pytest.raises(UserError, match="2048"):
        noise_of("V1").asd(np.array([1100.0]))
    with pytest.raises(UserError, match="even"):
        noise.whitening_matrix(noise_of("H1"), n=5)


def test_autocovariance_is_the_integral_of_the_psd() -> None:
    lags = autocovariance(noise_of("V1"), n=256, floor=0.0)
    # Written plainly: the sum over the bins of a stretch of four times the length.
    frequencies = np.arange(513) * (FS / 1024)
    power = (noise_of("V1").asd(frequencies) / 1e-21) ** 2
    power[-1] /= 2  # the Nyquist bin has no mirror image
    for lag in (0, 1, 17, 255):
        plain = (power * np.cos(2 * np.pi * frequencies * lag / FS)).sum() * FS / 1024
        assert lags[lag] == pytest.approx(plain, rel=1e-10, abs=1e-12 * lags[0])


def test_symmetric_power_is_that_of_scipy() -> None:
    from scipy.linalg import fractional_matrix_power

    lags = autocovariance(noise_of("H1"), n=256)
    plain = fractional_matrix_power(toeplitz(lags), -0.5)
    # float64 and a condition number of 1e6: ten digits are left.
    np.testing.assert_allclose(symmetric_power(lags, -0.5), plain, atol=1e-8 * np.abs(plain).max())
    with pytest.raises(ValueError, match="positive definite"):
        symmetric_power(np.array([1.0, 2.0]), -0.5)
    with pytest.raises(ValueError, match="even"):
        symmetric_power(np.ones(3), -0.5)


@pytest.mark.parametrize("detector", ["H1", "V1"])
def test_the_whitening_matrix_inverts_the_covariance(
    detector: str, whitening: dict[str, np.ndarray]
) -> None:
    matrix = whitening[detector].astype(np.float64)
    assert whitening[detector].dtype == np.float32
    assert np.array_equal(matrix, matrix.T)
    # W C W on random unit vectors, in place of two products of 4096 x 4096. The matrix is kept
    # in float32: 6e-8 of its largest elements, magnified by the root of the condition number
    # of C, 2e3 (LIGO), comes to at most 1e-3.
    vectors = np.random.default_rng(1).standard_normal((4096, 20)) / 64
    covariance = toeplitz(autocovariance(noise_of(detector), SAMPLES))
    back = matrix @ (covariance @ (matrix @ vectors))
    assert np.linalg.norm(back - vectors, axis=0).max() < 1e-3


def test_windows_too_long_for_a_matrix_are_refused_at_once(tmp_path: Path) -> None:
    triangle = Observation(("ET1", "ET2", "ET3"), window=8.0)
    for refused in (
        lambda: noise.whitening_matrix(triangle.noise(0), triangle.num_samples, tmp_path),
        lambda: symmetric_power(np.ones(noise.LARGEST_MATRIX + 2), -0.5),
        lambda: Whiten(decimate=2, observation=triangle),
    ):
        with pytest.raises(
            UserError, match=r"more than 8,192 samples are refused: put WhitenTorch"
        ):
            refused()
    assert not list(tmp_path.iterdir())
    # A matrix that is given has its size already.
    Whiten(matrices=[np.eye(4)] * 3, observation=triangle)


def test_the_whitening_matrix_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = noise.whitening_matrix(noise_of("H1"), n=64, cache_dir=tmp_path)
    (kept,) = tmp_path.iterdir()
    monkeypatch.setattr(noise, "symmetric_power", lambda *_: pytest.fail("computed twice"))
    assert np.array_equal(noise.whitening_matrix(noise_of("L1"), n=64, cache_dir=tmp_path), first)
    monkeypatch.undo()
    kept.write_bytes(kept.read_bytes()[:200])  # a damaged file is replaced
    assert np.array_equal(noise.whitening_matrix(noise_of("H1"), n=64, cache_dir=tmp_path), first)
    assert np.array_equal(np.load(kept), first)
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path / "elsewhere"))
    noise.whitening_matrix(noise_of("V1"), n=64)
    assert list((tmp_path / "elsewhere").iterdir())


def test_the_matrix_that_was_kept_first_is_everybodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes compute it at once, with other last digits: results must not tell whose."""
    mine = noise.whitening_matrix(noise_of("H1"), n=64, cache_dir=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.unlink()
    other = mine * np.float32(1 + 1e-6)
    compute = noise.symmetric_power

    def another_is_faster(*arguments):
        np.save(kept, other)
        return compute(*arguments)

    monkeypatch.setattr(noise, "symmetric_power", another_is_faster)
    found = noise.whitening_matrix(noise_of("H1"), n=64, cache_dir=tmp_path)
    assert np.array_equal(found, other)
    assert np.array_equal(np.load(kept), other)


# --- noise --------------------------------------------------------------------------------------


def test_noise_has_the_psd_of_its_curve() -> None:
    from scipy.signal import get_window, welch

    data = NoiseGenerator().sample(200).double().numpy() / 1e-21
    window = get_window("hann", 4096)
    overlap = np.correlate(window, window, "full")[4095:] / (window**2).sum()  # at lags 0 to 4,095
    for d, name in enumerate(COMPETITION.detectors):
        frequencies, power = welch(data[:, d], FS, window, 4096, detrend=False)
        power = power.mean(0)  # one segment each: 200 independent periodograms
        # What a windowed periodogram is expected to be: narrow lines of the curve are smeared.
        cosines = autocovariance(noise_of(name), 4096, floor=0.0) * overlap
        expected = (2 * np.fft.fft(cosines).real - cosines[0])[:2049] * 2 / FS
        bands = (frequencies >= 12) & (frequencies < 1000)
        ratio = power[bands] / expected[bands]
        # Each bin is a mean of 200 exponentials, s.d. 7 %, with a Hann window about 2 of 3 of
        # them independent. The largest of 2,000 stays within 5.5 s.d., and so do band means.
        assert np.abs(ratio - 1).max() < 5.5 * 0.0707
        for low, high in ((12, 25), (25, 50), (50, 100), (100, 300), (300, 1000)):
            part = (frequencies[bands] >= low) & (frequencies[bands] < high)
            error = 0.0707 * math.sqrt(1.5 / part.sum())
            assert abs(ratio[part].mean() - 1) < 5 * error
        # And where the curve is smooth, the expectation is the curve.
        smooth = (frequencies > 120) & (frequencies < 250)
        curve = (noise_of(name).asd(frequencies[smooth]) / 1e-21) ** 2
        np.testing.assert_allclose(expected[smooth], curve, rtol=0.01)


def test_noise_has_the_covariance_of_its_curve() -> None:
    count = 4000
    data = NoiseGenerator(observation=window_of(256)).sample(count).double().numpy() / 1e-21
    for d, name in enumerate(COMPETITION.detectors):
        lags = autocovariance(noise_of(name), n=256, floor=0.0)
        covariance = data[:, d].T @ data[:, d] / count
        # The estimate of an element of a Gaussian covariance has a variance of at most
        # 2 lags[0]^2 / count; six s.d. over all of them, which hang together closely.
        error = lags[0] * math.sqrt(2 / count)
        assert np.abs(covariance - toeplitz(lags)).max() < 6 * error


def test_noise_is_gaussian_independent_and_whitened_exactly(
    whitening: dict[str, np.ndarray],
) -> None:
    from scipy.stats import kurtosis

    data = NoiseGenerator().sample(120).numpy() / np.float32(1e-21)
    white = np.stack(
        [data[:, d] @ whitening[name] for d, name in enumerate(COMPETITION.detectors)], 1
    )
    # 491,520 numbers a detector. s.d. of the variance sqrt(2 / N) = 0.002, of the kurtosis
    # sqrt(24 / N) = 0.007, of a correlation 1 / sqrt(N) = 0.0014: five of each. The noise
    # itself has no power below 10 Hz, 1 % of the band, where the matrix expects its floor.
    for d in range(3):
        assert white[:, d].var() == pytest.approx(1 - 10 / 1024, abs=0.011)
        assert abs(kurtosis(white[:, d], axis=None)) < 0.035
        # White at all lags but for that 1 %, and at both edges (s.d. of 120 x 64: 0.016).
        for lag in (1, 2, 5, 50):
            product = (white[:, d, lag:] * white[:, d, :-lag]).mean()
            assert abs(product) < 0.007 + 0.01
        for edge in (white[:, d, :64], white[:, d, -64:]):
            assert edge.var() == pytest.approx(1, abs=0.08)
        assert abs((white[:, d] * white[:, (d + 1) % 3]).mean()) < 0.007


def test_noise_is_not_periodic() -> None:
    data = NoiseGenerator().sample(100).double().numpy() / 1e-21
    around = np.abs(data[:, :, 0] - data[:, :, -1]).mean(0)
    steps = np.abs(np.diff(data, axis=-1)).mean((0, 2))
    # The recipe measured 30, 30 and 8. One step is far above 1 in 100 samples, s.d. 8 %.
    assert np.all(np.abs(around / steps / [30, 30, 8] - 1) < 0.4)


def test_noise_is_seeded_float32_strain() -> None:
    source = NoiseGenerator()
    first, again, other = (
        source.sample(2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == (2, 3, 4096)
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 1e-21 < first.std() < 1e-19


# --- families of curves -------------------------------------------------------------------------


def check_members(observation: Observation, count: int) -> None:
    """Compare drawn noise with the curve that was drawn for it: scipy's Welch, and the counts."""
    from scipy.signal import get_window, welch
    from scipy.stats import chisquare

    n, rate = observation.num_samples, observation.sample_rate
    source = NoiseGenerator(observation=observation)
    generator = torch.Generator().manual_seed(4)
    members = source.draw_members(count, generator)
    data = source.sample(count, generator, members).double().numpy() / 1e-21
    # Drawn without naming the members, they are those that the generator gives first.
    again = source.sample(count, torch.Generator().manual_seed(4)).double().numpy() / 1e-21
    assert np.array_equal(data, again)
    window = get_window("hann", n)
    overlap = np.correlate(window, window, "full")[n - 1 :] / (window**2).sum()
    for d in range(observation.num_detectors):
        drawn = members[:, d].numpy()
        own = len(observation.noise(d).curve.members or (None,))
        counts = np.bincount(drawn - int(source.first[d]), minlength=own)
        assert len(counts) == own
        assert own == 1 or chisquare(counts).pvalue > 1e-4
        for member in np.unique(drawn):
            rows = data[drawn == member, d]
            frequencies, power = welch(rows, rate, window, n, detrend=False)
            cosines = autocovariance(source.curves[member], n, floor=0.0) * overlap
            expected = (2 * np.fft.fft(cosines).real - cosines[0])[: n // 2 + 1] * 2 / rate
            band = (frequencies >= 20) & (frequencies < 0.45 * rate)
            ratio = power.mean(0)[band] / expected[band]
            # A bin is a mean of exponentials, and two of three bins are independent.
            error = math.sqrt(1.5 / (len(rows) * band.sum()))
            assert abs(ratio.mean() - 1) < 5 * error
            for low, high in ((20, 60), (60, 200), (200, 0.45 * rate)):
                part = (frequencies[band] >= low) & (frequencies[band] < high)
                error = math.sqrt(1.5 / (len(rows) * part.sum()))
                assert abs(ratio[part].mean() - 1) < 5 * error


def test_each_sample_of_a_family_has_the_psd_of_its_own_member(tmp_path: Path) -> None:
    families = [write_family(tmp_path / "a", -2, 0, 1), write_family(tmp_path / "b", -1, 0.5)]
    # A single curve among families.
    curves = [str(families[0]), COMPETITION.curves[1], str(families[1])]
    check_members(Observation(window=0.5, curves=curves), 900)


def test_a_family_of_one_is_its_curve(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "a", -2)
    family, single = (
        NoiseGenerator(observation=Observation(window=0.5, curves=str(path)))
        for path in (folder, folder / "0.txt")
    )
    assert not family.has_families
    draws = [source.sample(3, torch.Generator().manual_seed(1)) for source in (family, single)]
    assert torch.equal(*draws)


def test_a_familys_digest_does_not_depend_on_the_rounding_of_its_mean(tmp_path: Path) -> None:
    family = find_curve(str(write_family(tmp_path / "a", -2, 0)))
    elsewhere = dataclasses.replace(family, amplitudes=np.nextafter(family.amplitudes, 1))
    assert elsewhere.digest == family.digest
    louder = dataclasses.replace(family.members[0], amplitudes=2 * family.members[0].amplitudes)
    changed = dataclasses.replace(family, members=(louder, *family.members[1:]))
    assert changed.digest != family.digest


def test_a_family_whose_files_changed_is_read_again(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "a", -2, 0)
    first = find_curve(str(folder))
    assert find_curve(str(folder)) is first
    (folder / "0.txt").replace(folder / "2.txt")
    renamed = find_curve(str(folder))
    assert [curve.name for curve in renamed.members] == [
        str(folder / f"{number}.txt") for number in (1, 2)
    ]
    # Another size at the same time, then another time at the same size.
    file = folder / "1.txt"
    changed = file.stat().st_mtime_ns
    file.write_text(file.read_text() + "1040 1e-23\n")
    os.utime(file, ns=(changed, changed))
    longer = find_curve(str(folder))
    assert longer.members[0].end == 1040
    file.write_text(file.read_text().replace("1040 1e-23", "1050 1e-23"))
    os.utime(file, ns=(changed + 10**9, changed + 10**9))
    assert find_curve(str(folder)).members[0].end == 1050
    file.unlink()
    assert len(find_curve(str(folder)).members) == 1


def test_noise_of_measured_psds(shared: Path) -> None:
    folder = shared / "data" / "mdc_psds"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    observation = Observation(detectors=("H1", "L1"), curves=str(folder))
    assert [len(observation.noise(d).curve.members) for d in range(2)] == [20, 20]
    check_members(observation, 600)


# --- the competition's own samples --------------------------------------------------------------


def test_real_samples_whiten_to_unit_variance(
    real_samples: Path, whitening: dict[str, np.ndarray]
) -> None:
    data = np.stack([np.load(path) for path in sorted(real_samples.rglob("*.npy"))]) / 1e-21
    assert len(data) == 64
    for d, name in enumerate(COMPETITION.detectors):
        white = data[:, d] @ whitening[name]
        # The first 1.2 s precede all but the weakest part of any signal: 64 x 2,458 numbers,
        # s.d. of their variance 0.0036. The curves are good to 0.3 % in power by the recipe,
        # and the noise leaves out the 1 % of the band below 10 Hz: 3 % holds all three.
        early = white[:, :2458]
        assert early.var() == pytest.approx(1 - 10 / 1024, abs=0.03)
        # The edge is as white as the middle: 64 x 64 numbers, s.d. 0.022.
        assert white[:, :64].var() == pytest.approx(1, abs=0.11)
        spectrum = np.abs(np.fft.rfft(early)) ** 2
        frequencies = np.fft.rfftfreq(2458, 1 / FS)
        for low, high in ((20, 60), (60, 200), (200, 500), (500, 1000)):
            part = spectrum[:, (frequencies >= low) & (frequencies < high)] / 2458
            # Exponentials: s.d. 1 / sqrt(number). Five of them, and 3 % for the curve.
            assert part.mean() == pytest.approx(1, abs=5 / math.sqrt(part.size) + 0.03)
