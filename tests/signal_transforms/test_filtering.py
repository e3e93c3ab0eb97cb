"""Band-passes and spectral dropout against scipy and known signals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal
from strain_batches import FS, red_noise

import transforms as T
from runtime.errors import UserError
from signal_transforms import band_pass_operators
from signal_transforms.band_pass_operators import biquad_operator

BANDS = [(12, 360, 4), (12, 512, 8), (16, 512, 8), (24, 300, 4), (24, 350, 4), (30, 300, 4)]


@pytest.mark.parametrize(("lower", "upper", "order"), BANDS)  # all that the experiments use
def test_band_pass_is_that_of_scipy(lower, upper, order):
    x = torch.cat([red_noise(6), torch.randn(2, 3, 4096)])
    sections = signal.butter(order, (lower, upper), "bandpass", fs=FS, output="sos")
    padding = 3 * (2 * order + 1)  # filtfilt's default for the polynomial form
    expected = signal.sosfiltfilt(sections, x.double().numpy(), padlen=padding)
    transform = T.BandPass(lower, upper, order=order)
    error = np.abs(transform(x).numpy() - expected).max(-1)
    # Float32's rounding of the result is 6e-8; transforms in float32 were 1e-6 off, and more.
    assert (error / np.abs(expected).max(-1)).max() < 2e-7
    # a constant is filtered to nothing; a few units of float32's last place are left of it
    assert transform(torch.ones(1, 3, 4096)).abs().max() < 1e-6


def test_band_pass_of_real_samples_is_that_of_scipy(real_samples):
    files = sorted(real_samples.glob("train/*/*/*/*.npy"))[:8]
    x = torch.tensor(np.stack([np.load(file, allow_pickle=False) for file in files])).float()
    sections = signal.butter(8, (12, 512), "bandpass", fs=FS, output="sos")
    expected = signal.sosfiltfilt(sections, x.double().numpy(), padlen=51)
    error = np.abs(T.BandPass(12, 512)(x).numpy() - expected).max(-1)
    assert (error / np.abs(expected).max(-1)).max() < 2e-7


@pytest.mark.parametrize("length", [100, 1001, 3000])
def test_band_pass_of_other_lengths(length):
    x = torch.randn(3, 3, length, dtype=torch.float64)
    sections = signal.butter(4, (20, 500), "bandpass", fs=FS, output="sos")
    expected = signal.sosfiltfilt(sections, x.numpy(), padlen=27)
    y = T.BandPass(20, 500, order=4)(x)
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-5 * np.abs(expected).max())


def test_band_pass_agrees_with_filtfilt_where_that_is_exact():
    x = torch.randn(2, 3, 4096)
    b, a = signal.butter(4, (30, 300), "bandpass", fs=FS)
    expected = signal.filtfilt(b, a, x.double().numpy())
    y = T.BandPass(30, 300, order=4)(x).numpy()
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


def test_band_pass_has_unit_gain_inside_and_half_at_the_edge():
    time = torch.arange(4096, dtype=torch.float64) / FS
    tones = torch.stack([torch.cos(2 * torch.pi * f * time) for f in (100, 200, 400)])
    y = T.BandPass(50, 200)(tones[None].float())[0, :, 1500:2500]
    peaks = y.abs().amax(-1)
    torch.testing.assert_close(peaks, torch.tensor([1.0, 0.5, 0.0]), atol=3e-3, rtol=0)
    torch.testing.assert_close(y[0], tones[0, 1500:2500].float(), atol=1e-3, rtol=0)  # no phase


def test_taper_takes_the_edge_transients_away():
    x = red_noise(4)
    edge = T.BandPass(12, 512)(x)[..., :20].abs().amax()
    tapered = T.BandPass(12, 512, taper=128)(x)
    assert tapered[..., :20].abs().amax() < 0.5 * edge
    with pytest.raises(UserError, match="taper"):
        T.BandPass(12, 512, taper=3000)(x)


def test_band_pass_refuses_what_is_no_band():
    for lower, upper in ((0, 300), (300, 300), (30, 1024)):
        with pytest.raises(UserError, match="half the sampling rate"):
            T.BandPass(lower, upper)
    with pytest.raises(UserError, match="longer waveform"):
        T.BandPass(30, 300)(torch.randn(1, 3, 51))


@pytest.mark.parametrize("make", [lambda: T.BandPass(30, 300, order=4), T.Whiten])
def test_filters_keep_float32_whatever_the_precision_settings(make):
    x = red_noise(3, 512)
    expected = make()(x)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = make()(x)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_band_pass2_filters_each_channel_by_its_own_band():
    x = torch.randn(3, 3, 512)
    bands = [(12, 500), (20, 300), (30, 400)]
    y = T.BandPass2(bands, order=4)(x)
    for i, (lower, upper) in enumerate(bands):
        assert torch.equal(y[:, i : i + 1], T.BandPass(lower, upper, order=4)(x[:, i : i + 1]))
    with pytest.raises(UserError, match="3 bands for 2 channels"):
        T.BandPass2()(x[:, :2])


def test_causal_band_pass():
    x = torch.randn(2, 3, 1000)
    lower, upper = 50.0, 200.0
    # the analogue resonance, mapped by the bilinear transform with its centre kept in place
    centre = np.sqrt(lower * upper)
    width = (upper - lower) / centre
    warped = 2 * FS * np.tan(np.pi * centre / FS)
    b, a = signal.bilinear([width * warped, 0], [1, width * warped, warped**2], FS)
    sine = np.sin(2 * np.pi * centre / FS) / (2 * np.pi * centre / FS)
    y = T.BandPassTorch(lower, upper)(x)
    # the cookbook's alpha has sin(w) for w: at 100 of 2,048 Hz 1.6 % less width
    expected = signal.lfilter(b, a, x.double().numpy())
    np.testing.assert_allclose(y.numpy(), expected, atol=0.05 * np.abs(expected).max())
    alpha = np.sin(2 * np.pi * centre / FS) * width / 2
    assert sine > 0.98
    exact = signal.lfilter(
        np.array([alpha, 0, -alpha]) / (1 + alpha),
        np.array([1 + alpha, -2 * np.cos(2 * np.pi * centre / FS), 1 - alpha]) / (1 + alpha),
        x.double().numpy(),
    )
    np.testing.assert_allclose(y.numpy(), exact, atol=1e-5)
    time = torch.arange(4096) / FS
    tone = torch.sin(2 * torch.pi * 100 * time).expand(1, 3, -1)
    assert abs(T.BandPassTorch(lower, upper)(tone)[..., 2000:].abs().max() - 1) < 1e-3


@pytest.mark.parametrize(
    ("lower", "upper", "size"),
    [(16, 512, 4500), (20, 21, 8192)],
    ids=["its response ends early", "its response outlasts the waveform"],
)
def test_causal_band_pass_is_scipys_recursion_to_the_last_sample(lower, upper, size):
    x = torch.randn(65, 3, 4096)  # more rows than are filtered at a time
    operator = biquad_operator(4096, lower, upper, FS, x.device)
    assert (operator.size, operator.exported_size) == (size, 8192)
    angle = 2 * np.pi * np.sqrt(lower * upper) / FS
    alpha = np.sin(angle) * (upper - lower) / np.sqrt(lower * upper) / 2
    expected = signal.lfilter(
        [alpha, 0, -alpha], [1 + alpha, -2 * np.cos(angle), 1 - alpha], x.double().numpy()
    )
    # float32 rounds to 6e-8 of a value
    tolerance = 2e-7 * np.abs(expected).max()
    np.testing.assert_allclose(operator(x), expected, atol=tolerance)
    exported = operator._replace(spectrum=operator.exported_spectrum, size=operator.exported_size)
    np.testing.assert_allclose(exported(x), expected, atol=tolerance)


def test_spectral_dropout_removes_one_band_of_all_detectors():
    x = torch.randn(64, 3, 512)
    y = T.SpectralDropout(max_width=0.2, always_apply=True)(x)
    before, after = torch.fft.rfft(x), torch.fft.rfft(y)
    gone = after.abs() < 1e-4 * before.abs().amax()  # (row, detector, frequency)
    assert torch.equal(gone[:, 0], gone[:, 1])
    edges = (gone[:, 0, 1:] != gone[:, 0, :-1]).sum(1)  # one band has two, or one at an end
    assert edges.max() == 2
    width = gone[:, 0].float().mean(1)
    assert 0.15 < width.max() <= 0.21
    torch.testing.assert_close(after[~gone], before[~gone], rtol=1e-4, atol=1e-4)
    for width in (0, 1):
        with pytest.raises(UserError, match="max_width"):
            T.SpectralDropout(max_width=width)


def test_filters_made_in_inference_mode_serve_training():
    band_pass_operators.band_pass_operator.cache_clear()
    transform = T.BandPass(40, 300, order=4)
    with torch.inference_mode():
        transform(torch.randn(1, 3, 512))
    x = torch.randn(1, 3, 512, requires_grad=True)
    transform(x).square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_a_band_pass_is_kept_on_disk_bit_by_bit(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path))
    arguments = (300, 40.0, 300.0, FS, 3)

    def made() -> tuple:
        band_pass_operators.band_pass_arrays.cache_clear()
        return band_pass_operators.band_pass_arrays(*arguments)

    computed = made()
    (path,) = tmp_path.glob("band-pass-40-300-300-*.npy")
    monkeypatch.setattr(band_pass_operators, "compute_band_pass", None)  # not needed any more
    for first, second in zip(made(), computed, strict=True):
        np.testing.assert_array_equal(first, second)
    monkeypatch.undo()
    monkeypatch.setenv("G2NET_CACHE", str(tmp_path))
    whole = path.read_bytes()
    for damaged in (whole[:1000], b"", np.lib.format.MAGIC_PREFIX, b"no array at all"):
        path.write_bytes(damaged)
        with caplog.at_level("WARNING"):
            np.testing.assert_array_equal(made()[0], computed[0])
        assert "computed again" in caplog.text
        assert path.read_bytes() == whole
        caplog.clear()
    np.save(path, np.zeros((3, 302)))  # of another size
    np.testing.assert_array_equal(made()[0], computed[0])


@pytest.mark.skipif(
    torch.__version__.split(".")[:2] == ["2", "6"],
    reason="torch 2.6 loses constants where autocast is off; export.py's comparison refuses that",
)
def test_an_exported_band_pass_takes_any_batch() -> None:
    """Rows are filtered in parts for a CPU's cache: a graph must not hold the number of parts."""
    transform = T.BandPass(lower=20, upper=500, order=4)
    example = torch.randn(2, 3, 512)
    with torch.no_grad():
        transform(example)  # operators are made at the first batch
        batch = ({0: torch.export.Dim("batch")},)
        graph = torch.export.export(
            transform, (example,), dynamic_shapes=batch, strict=False
        ).module()
        several = torch.randn(40, 3, 512)  # 120 rows, three parts
        torch.testing.assert_close(graph(several), transform(several), atol=1e-6, rtol=1e-5)
