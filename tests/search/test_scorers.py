"""Which scorer serves a config."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from small_bank import PAIR, chirp_network, noise_and_chirps, white_stretch
from small_run import SMALL

from configs import Demo, Wave06, Wave07
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.building import build_model
from models1d import ResNet1d
from physics.observation import Observation
from runtime.errors import UserError
from search import scorers
from search.filter_bank_scorer import FilterBankScorer
from search.scorers import find_bank_decimation, make_plain_scorer, make_scorer
from search.windowed_scorer import WindowedScorer
from training.checkpoints import save_checkpoint
from transforms import Whiten

OBSERVATION = Part(
    Observation, detectors=("H1", "L1"), sample_rate=1024, window=1.0, min_frequency=20.0
)


@pytest.fixture
def bank_config(monkeypatch: pytest.MonkeyPatch) -> ConfigMeta:
    """Return a config whose network is a bank of chirps, trained or not."""
    config = ConfigMeta(
        "Chirps",
        (Wave07,),
        {
            "name": "chirps",
            "observation": OBSERVATION,
            "model_params": {
                "templates": 4,
                "basis": 8,
                "before": 0.125,
                "after": 0.03125,
                "stride": 2,
                "correlation": -0.6,
                "bank_size": 8,
            },
        },
        register=False,
    )
    built = []

    def build_chirps(config: ConfigMeta, pretrained: bool = False) -> torch.nn.Module:
        built.append(pretrained)
        return chirp_network() if pretrained else build_model(config)

    monkeypatch.setattr(scorers, "build_model", build_chirps)
    config_built[:] = [built]
    return config


config_built: list[list[bool]] = []


def test_banks_are_told_from_other_networks() -> None:
    assert find_bank_decimation(Wave07) == find_bank_decimation(Wave06) == 2
    assert find_bank_decimation(Demo) is None
    whitened = Part(Whiten, decimate=2, band=(20, 400))
    banded = {**Wave07.transforms, "test": (whitened,)}
    config = ConfigMeta("Banded", (Wave07,), {"transforms": banded}, register=False)
    assert find_bank_decimation(config) is None


def test_an_untrained_bank_and_its_weights(bank_config: ConfigMeta, tmp_path: Path) -> None:
    stretch = white_stretch(noise_and_chirps(10, [(5.0, 12.0, 90.0)]))
    untrained = make_scorer(bank_config)
    assert isinstance(untrained, FilterBankScorer)
    assert config_built[0] == [True]
    untrained.prepare(stretch)
    expected = untrained.peaks({}, 10.0)
    assert np.abs(expected.time - 1005).min() < 0.003
    paths = [tmp_path / f"fold{fold}.pt" for fold in range(2)]
    for path in paths:
        save_checkpoint(path, {"model": chirp_network().state_dict()})
    trained = make_scorer(bank_config, paths, "cpu", ("identity", "flip"))
    assert len(trained.statistics) == 4
    trained.prepare(stretch)
    np.testing.assert_allclose(trained.peaks({}, 10.0).score, expected.score, rtol=1e-4)


def test_exchanged_detectors_are_views_of_a_bank(bank_config: ConfigMeta) -> None:
    scorer = make_scorer(bank_config, views=("identity", "swap_ligo"))
    assert [statistic.channels for statistic in scorer.statistics] == [(0, 1), (1, 0)]


def test_other_networks_are_shown_windows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = override(Demo, SMALL)
    with pytest.raises(UserError, match="has no weights to search with"):
        make_scorer(config)
    path = tmp_path / "fold0.pt"
    save_checkpoint(path, {"model": build_model(config).state_dict()})
    caplog.set_level(logging.INFO)
    scorer = make_scorer(config, [path])
    assert isinstance(scorer, WindowedScorer)
    assert not scorer.zeros
    # Their branches run over the whole stretch.
    assert scorer.fronts[0].reach.is_local
    assert "apart" not in caplog.text
    # Layers of all detectors do so where windows lie a whole number of columns apart.
    config = ConfigMeta("Plain", (config,), {"model": ResNet1d, "model_params": {}}, register=False)
    save_checkpoint(path, {"model": build_model(config).state_dict()})
    scorer = make_scorer(config, [path])
    assert not scorer.fronts[0].reach.is_apart
    assert scorer.step * 256 == round(scorer.step * 256)  # 4 samples of 1,024 Hz
    assert f"windows begin {scorer.step:.4g} s apart, not 0.1" in caplog.text
    assert 1 < scorer.arrival < 2  # within the window, where mergers lie


def test_the_plain_matched_filter_needs_a_bank(bank_config: ConfigMeta) -> None:
    with pytest.raises(UserError, match="no filter bank"):
        make_plain_scorer(Demo)
    assert make_plain_scorer(bank_config).observation == PAIR
