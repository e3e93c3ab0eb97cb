"""The hold-out: drawn once, always the same, and what its settings say."""

from __future__ import annotations

import numpy as np
import pytest
from competition import design_matrix
from detection_examples import HEAVY, HEAVY_IN_VOLUME, ONE_DETECTOR, SMALL, TWO_DETECTORS

from benchmarks import RESULTS
from benchmarks.detection.holdout import BATCH, HoldoutSettings, load_holdout, open_holdout
from benchmarks.detection.report import KNOWN_APART, load_detection
from benchmarks.detection.templates import BANK_SEED
from runtime.errors import UserError

pytest.importorskip("lalsimulation")


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
    white = design_matrix("H1") @ (holdout.strain[::2, 0].T / np.float32(1e-21))
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


def test_the_samples_are_those_of_the_record(cache) -> None:
    """The recorded ceilings belong to these samples: their own matched filters have not changed."""
    assert HoldoutSettings().key() == "e38b81083bc29dcc"
    record = load_detection(RESULTS / "detection.json")["holdout"]
    assert HoldoutSettings().to_plain() == record["settings"]
    again = open_holdout(HoldoutSettings(samples=32), cache)
    np.testing.assert_allclose(again.known, record["known"], atol=KNOWN_APART)


def test_other_observations_have_holdouts_of_their_own(cache) -> None:
    settings = [
        HoldoutSettings(24, bank_size=8, observation=observation, population=population)
        for observation, population in ((ONE_DETECTOR, HEAVY), (TWO_DETECTORS, HEAVY_IN_VOLUME))
    ]
    assert len({each.key() for each in (*settings, SMALL)}) == 3
    for each in settings:
        drawn = open_holdout(each, cache)
        assert drawn.settings == each
        assert drawn.strain.shape == (24, *each.observation.shape)
        assert open_holdout(each, cache).digest == drawn.digest
        louder = drawn.snr[1::2] > 6
        assert (drawn.known[1::2][louder] > 2).all()
    in_volume = open_holdout(settings[1], cache)
    # Distances, and so SNRs, have no bounds of their own.
    assert in_volume.snr.max() > 27
