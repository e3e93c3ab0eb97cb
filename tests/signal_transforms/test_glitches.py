"""Glitches as an augmentation: SNR, times, detectors and kinds by their laws; whitened strain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from competition import SAMPLES, noise_of, window_of
from scipy.stats import binomtest, chisquare, kstest
from strain_batches import ALWAYS

import transforms as T
from configs import EXACT, Wave08
from physics.constants import STRAIN_UNIT
from physics.glitches import KINDS
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError

DETECTORS, NUM_SAMPLES, SAMPLE_RATE = (
    COMPETITION.detectors,
    COMPETITION.num_samples,
    COMPETITION.sample_rate,
)

WITH_SNR = tuple(name for name in KINDS if name != "dropout")

HANFORD, VIRGO = window_of(SAMPLES, "H1"), window_of(SAMPLES, "V1")


def silence(rows: int, length: int = NUM_SAMPLES, detectors: int = len(DETECTORS)) -> torch.Tensor:
    return torch.zeros(rows, detectors, length)


def snr_of_strain(strain: np.ndarray, detector: str) -> np.ndarray:
    """Optimal SNR of strain (rows, time) in float64, as a sum over frequencies.

    16 s resolve the lines of the noise curves.
    """
    size = 8 * NUM_SAMPLES
    grid = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    inside = grid >= COMPETITION.min_frequency
    spectrum = np.fft.rfft(strain.astype(np.float64), size)[:, inside] / SAMPLE_RATE
    density = noise_of(detector).asd(grid[inside]) ** 2
    return np.sqrt(4 * (np.abs(spectrum) ** 2 / density).sum(1) * SAMPLE_RATE / size)


@pytest.mark.parametrize("kind", WITH_SNR)
def test_the_snr_of_what_is_added(kind: str) -> None:
    """Of strain as it is stored: the unit is 1e-21."""
    added = T.AddGlitches({kind: 1}, snr=(20, 20), **ALWAYS)(silence(128)).numpy()
    assert added.dtype == np.float32
    checked = 0
    for d, name in enumerate(DETECTORS):
        rows = added[:, d][(added[:, d] != 0).any(1)]
        edges = np.concatenate([rows[:, :64], rows[:, -64:]], axis=1)
        # Those that the window holds whole: nothing is left of them at its ends.
        whole = np.abs(edges).max(1) < 1e-5 * np.abs(rows).max(1)
        found = snr_of_strain(rows[whole], name)
        np.testing.assert_allclose(found, 20, rtol=0.01)
        checked += len(found)
    assert checked > 20
    assert 1e-24 < np.abs(added).max() < 1e-18


def test_the_law_of_the_snr() -> None:
    # A blip is short, so that the window holds nearly all of them whole.
    transform = T.AddGlitches({"blip": 1}, snr=(8, 60), snr_power=3.0, observation=VIRGO, **ALWAYS)
    strain = transform(silence(4000, 1024, 1))[:, 0].numpy()
    edges = np.abs(np.concatenate([strain[:, :8], strain[:, -8:]], axis=1)).max(1)
    whole = edges < 1e-4 * np.abs(strain).max(1)
    assert whole.mean() > 0.85  # which are cut is a matter of their time, not of their SNR
    found = snr_of_strain(strain[whole], "V1")
    assert kstest(found, lambda x: (8.0**-2 - x**-2) / (8.0**-2 - 60.0**-2)).pvalue > 1e-3


def test_the_probability_of_a_row_and_its_detector() -> None:
    rows = 3000
    changed = (T.AddGlitches(p=0.3, kinds={"blip": 1})(silence(rows, 512)) != 0).any(-1)
    assert changed.sum(1).max() == 1  # one detector at most
    assert binomtest(int(changed.any(1).sum()), rows, 0.3).pvalue > 1e-3
    assert chisquare(changed.sum(0)).pvalue > 1e-3  # each as often


def test_detectors_draw_on_their_own_if_asked() -> None:
    rows, p = 3000, 0.3
    transform = T.AddGlitches(p=p, kinds={"blip": 1}, per_detector=True)
    strain = transform(silence(rows, 512))
    numbers = torch.bincount((strain != 0).any(-1).sum(1), minlength=4).numpy()
    expected = np.array([(1 - p) ** 3, 3 * p * (1 - p) ** 2, 3 * p**2 * (1 - p), p**3]) * rows
    assert chisquare(numbers, expected).pvalue > 1e-3
    times = strain.abs().argmax(-1)[((strain != 0).any(-1)).all(1)]  # (row, detector)
    assert (times[:, 0] != times[:, 1]).float().mean() > 0.95  # independent times
    assert abs(np.corrcoef(times.T.numpy())[0, 1]) < 0.35  # about 80 rows: sigma is 0.11


def test_times_are_uniform_in_the_window() -> None:
    strain = T.AddGlitches({"click": 1}, observation=HANFORD, **ALWAYS)(silence(4000, 1024, 1))
    first = (strain[:, 0] != 0).float().argmax(-1)
    assert kstest((first.numpy() - 0.5) / 1023, "uniform").pvalue > 1e-3
    assert (strain != 0).any(-1).all()  # none lies outside


def test_kinds_have_their_weights() -> None:
    x = torch.ones(3000, 1, 512) * STRAIN_UNIT
    weights = {"dropout": 1, "click": 0, "blip": 2}
    y = T.AddGlitches(weights, observation=window_of(SAMPLES, "L1"), **ALWAYS)(x)
    dropped = (y == 0).sum(-1) > 1  # a blip passes through zero, but no two samples are zero
    assert binomtest(int(dropped.sum()), 3000, 1 / 3).pvalue > 1e-3


def test_a_dropout_is_silence_and_nothing_else() -> None:
    x = torch.randn(200, *COMPETITION.shape) * STRAIN_UNIT
    y = T.AddGlitches({"dropout": 1}, **ALWAYS)(x)
    changed = y != x
    assert torch.equal(y[changed], torch.zeros(int(changed.sum())))
    assert (changed.any(-1).sum(1) == 1).all()
    lost = changed.sum((1, 2)) / SAMPLE_RATE
    assert lost.max() < 0.51
    assert lost.max() > 0.3


@pytest.mark.parametrize(
    "detectors", [("H1",), ("L1", "V1"), ("V1", "H1", "L1"), ("H1", "L1", "V1", "K1")]
)
@pytest.mark.parametrize("per_detector", [False, True])
def test_any_number_of_detectors(detectors: tuple[str, ...], per_detector: bool) -> None:
    transform = T.AddGlitches(
        observation=window_of(600, *detectors), per_detector=per_detector, snr=(30, 30), **ALWAYS
    )
    x = torch.randn(64, len(detectors), 600) * STRAIN_UNIT
    y = transform(x)
    changed = (y != x).any(-1)
    assert changed.all() if per_detector else (changed.sum(1) == 1).all()
    with pytest.raises(UserError, match="one detector a channel"):
        transform(silence(2, 600, len(detectors) + 1))


def test_snr_is_against_the_curve_of_its_own_detector() -> None:
    """V1 is less sensitive, so the same SNR is a larger strain there."""
    torch.manual_seed(3)
    virgo = T.AddGlitches({"blip": 1}, snr=(9, 9), observation=VIRGO, **ALWAYS)(silence(8, 512, 1))
    torch.manual_seed(3)
    ligo = T.AddGlitches({"blip": 1}, snr=(9, 9), observation=HANFORD, **ALWAYS)(silence(8, 512, 1))
    assert (virgo.abs().amax(-1) > 1.2 * ligo.abs().amax(-1)).all()


def test_the_same_in_a_batch_of_another_kind() -> None:
    """What a row gets depends on the draws alone, not on what the other rows hold."""
    x = torch.randn(6, *COMPETITION.shape) * STRAIN_UNIT
    other = x.clone()
    other[1:] = torch.randn(5, *COMPETITION.shape) * 1e-19
    transform = T.AddGlitches(p=0.7)
    torch.manual_seed(5)
    first = transform(x)
    torch.manual_seed(5)
    assert torch.equal(transform(other)[0], first[0])


def test_float64_stays_float64() -> None:
    x = torch.randn(4, 3, 512, dtype=torch.float64) * STRAIN_UNIT
    assert T.AddGlitches(**ALWAYS)(x).dtype == torch.float64


# --- whitened strain ------------------------------------------------------------------------------


def same_draws(transform: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(11)
    return transform(x)


@pytest.mark.parametrize("per_detector", [False, True])
@pytest.mark.parametrize("detectors", [DETECTORS, ("V1",), ("L1", "V1")])
def test_whitened_sum_is_sum_of_whitened(per_detector: bool, detectors: tuple[str, ...]) -> None:
    """Whitening(strain + glitch) and whitened strain + whitened glitch, with the same draws."""
    length, kinds = 1024, dict.fromkeys(WITH_SNR, 1.0)
    observation = window_of(length, *detectors)
    settings = {"observation": observation, "per_detector": per_detector, **ALWAYS}
    whiten = T.Whiten(decimate=2, observation=observation)
    x = torch.randn(48, len(detectors), length) * STRAIN_UNIT
    strain = same_draws(T.AddGlitches(kinds, **settings), x)
    expected = whiten(strain)
    found = same_draws(T.AddGlitches(kinds, whiten={"decimate": 2}, **settings), whiten(x))
    assert (found != whiten(x)).any()
    # float32 products of the strain's own numbers, up to a few hundred times the noise
    scale = expected.abs().amax()
    assert (found - expected).abs().amax() < 3e-6 * scale


def test_whitened_glitches_have_their_snr_in_what_is_kept() -> None:
    """Whitened noise has unit variance, so the norm of a whitened glitch is its SNR."""
    kinds = {"blip": 1, "scattered_light": 1}  # between 12 and 512 Hz
    transform = T.AddGlitches(kinds, snr=(25, 25), whiten=EXACT.params, **ALWAYS)
    added = transform(silence(96, NUM_SAMPLES // 2))
    norm = added.square().sum((1, 2)).sqrt()
    assert norm.max() < 25 * 1.02
    # The window cuts some.
    assert norm.median() > 24
    assert ((added != 0).any(-1).sum(1) == 1).all()


def test_wave08_trains_with_glitches_on_whitened_strain() -> None:
    part = Wave08.transforms["train"][0]
    assert part.cls is T.AddGlitches
    transform = part.build(always_apply=True)
    assert "dropout" not in transform.kinds
    assert transform.whiten.decimate == Wave08.dataset_params["whiten"].params["decimate"]
    x = torch.randn(4, 3, NUM_SAMPLES // 2)
    y = transform(x)
    assert ((y != x).any(-1).sum(1) == 1).all()
    assert y.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": {"blib": 1}}, "did you mean 'blip'"),
        ({"kinds": {}}, "at least one kind"),
        ({"kinds": {"blip": 0}}, "at least one kind"),
        ({"kinds": {"blip": -1}}, "expected 0 or more"),
        ({"snr": (10, 5)}, "a least and a largest"),
        ({"snr": (0, 5)}, "a least and a largest"),
        ({"observation": Observation(("H1",), curves="no_such")}, "no noise curve"),
        ({"kinds": {"dropout": 1}, "whiten": {}}, "before Whiten"),
        ({"whiten": {"observation": HANFORD}}, "give both the same"),
        ({"whiten": {"sr": 1024}}, "give both the same"),
        ({"observation": Observation(("V1",), sample_rate=4096)}, "ends at"),
        ({"unit": 0}, "must be positive"),
    ],
)
def test_refusals(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        T.AddGlitches(**arguments)
