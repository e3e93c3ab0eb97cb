"""Samples as the files hold them, as a data set hands them on, and as it draws them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import configs
from configuration.class_with_arguments import Part
from configuration.overrides import override
from experiments.targets import Outputs, RegressionTarget
from look.samples import label, read_samples
from physics.observation import COMPETITION
from runtime.errors import UserError


def stored(look_data, name: str) -> np.ndarray:
    return np.load(look_data / f"{name}.npy").astype(np.float32)


def test_the_choice_is_balanced_and_seeded(look_data, tables) -> None:
    config = override(configs.Demo, tables)
    samples = read_samples(config, 5)
    assert samples.labels == ("signal",) * 3 + ("noise",) * 2
    truth = pd.read_csv(look_data / "train.csv").set_index("id")["target"]
    words = {0: "noise", 1: "signal"}
    assert [words[truth[name]] for name in samples.ids] == list(samples.labels)
    assert samples.strain.shape == (5, *COMPETITION.shape)
    for name, strain in zip(samples.ids, samples.strain, strict=True):
        np.testing.assert_array_equal(strain.numpy(), stored(look_data, name))
    assert read_samples(config, 5).ids == samples.ids
    assert read_samples(config, 5, seed=1).ids != samples.ids


def test_samples_are_found_by_their_id_in_both_tables(look_data, tables) -> None:
    config = override(configs.Demo, tables)
    samples = read_samples(config, ids=["test0x1", "train0x3"])
    assert samples.ids == ("test0x1", "train0x3")
    assert samples.labels[0] == "not labelled"
    assert samples.labels[1] in ("signal", "noise")
    for row, name in enumerate(samples.ids):
        np.testing.assert_array_equal(samples.strain[row].numpy(), stored(look_data, name))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"ids": ["train0x33"]},
            r"--ids train0x33: neither .*train.csv nor .*did you mean 'train0x3'",
        ),
        ({"count": 13}, "has 12 samples: ask for fewer"),
        ({"count": 0}, "--samples 0: expected 1 or more"),
    ],
)
def test_what_is_not_there_is_refused(tables, words, message) -> None:
    with pytest.raises(UserError, match=message):
        read_samples(override(configs.Demo, tables), **words)


def test_strain_is_shown_without_the_factors_of_the_data_set(look_data, tables) -> None:
    """Resized08aug4 divides by the largest amplitudes while it reads."""
    config = override(configs.Resized08aug4, tables)
    samples = read_samples(config, ids=["train0x3"])
    strain = stored(look_data, "train0x3")
    np.testing.assert_allclose(samples.strain[0].numpy(), strain, rtol=1e-6)
    factors = np.float32(config.dataset_params["norm_factor"])[:, None]
    np.testing.assert_allclose(samples.tested[0].numpy(), strain / factors, rtol=1e-6)


def test_mixing_of_a_data_set_is_part_of_the_training_only(look_data, tables) -> None:
    config = override(configs.Demo, [*tables, "dataset_params.mixup=true"])
    samples = read_samples(config, ids=["train0x3"])
    np.testing.assert_array_equal(samples.tested[0].numpy(), stored(look_data, "train0x3"))
    assert not torch.equal(samples.trained, samples.tested)


def test_drawn_samples_need_no_tables(tmp_path, monkeypatch) -> None:
    """Wave07 draws whitened samples; here they are strain, and whitened by its `whiten`."""
    pytest.importorskip("lalsimulation", reason="needs pip install -e '.[sim]'")
    monkeypatch.chdir(tmp_path)
    samples = read_samples(configs.Wave07, 4)
    assert samples.labels == ("signal", "signal", "noise", "noise")
    assert samples.source == "drawn"
    assert samples.strain.shape == (4, *COMPETITION.shape)
    assert 1e-23 < float(samples.strain.std()) < 1e-18
    whiten = configs.EXACT.build_for(observation=COMPETITION)
    torch.testing.assert_close(samples.trained, whiten(samples.strain))
    noise = samples.trained[2:]
    assert float(noise.std()) == pytest.approx(1, abs=0.05)  # white: 6 x 2,048 numbers
    again = read_samples(configs.Wave07, 4)
    assert torch.equal(again.strain, samples.strain)
    assert not torch.equal(read_samples(configs.Wave07, 4, seed=1).strain, samples.strain)


def test_a_table_without_a_training_says_how_to_make_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"input/demo/train.csv does not exist: make it with prep"):
        read_samples(configs.Demo, 4)


def test_targets_of_other_kinds_are_put_into_words() -> None:
    mass = Outputs(Part(RegressionTarget, names=("mass",), scale=10.0).build())
    assert label(mass, np.array([3.0])) == "mass 30"
    assert label(Outputs(configs.Demo.targets.build()), np.array([0.25])) == "target 0.25"
