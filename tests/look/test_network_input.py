"""What a network is given is what training and validation make of the same samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import configs
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.building import build_model, build_preparation
from look.network_input import describe, prepare, resized
from look.samples import read_samples
from runtime.seeds import seed_everything
from transforms import FlipWave, Normalize


def test_both_stages_are_those_of_the_training(tables) -> None:
    """Augmentations are the same for the same seed, and others for another."""
    config = override(configs.Demo, tables)
    samples = read_samples(config, 4)
    looked = prepare(config, samples)
    plain = build_preparation(config, "test", torch.device("cpu"))({"waveform": samples.strain})
    torch.testing.assert_close(looked.plain.waveforms[0], plain["waveform"])
    seed_everything(0, "look", "augmentations")
    train = build_preparation(config, "train", torch.device("cpu"))({"waveform": samples.strain})
    assert torch.equal(looked.augmented.waveforms[0], train["waveform"])
    assert not torch.equal(looked.augmented.waveforms[0], looked.plain.waveforms[0])
    assert looked.plain.transforms == ("Whiten",)
    assert looked.augmented.transforms == ("Whiten, SwapChannel, FlipWave, TimeShift",)
    assert (looked.plain.image, looked.front_end, looked.frequencies) == (None, "", None)
    other = prepare(config, samples, seed=1)
    assert not torch.equal(other.augmented.waveforms[0], looked.augmented.waveforms[0])


def test_the_state_of_torchs_generator_is_left_alone(tables) -> None:
    config = override(configs.Demo, tables)
    samples = read_samples(config, 1)
    before = torch.random.get_rng_state()
    prepare(config, samples)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_image_is_that_of_the_network(tables) -> None:
    config = override(configs.DemoSpec, tables)
    looked = prepare(config, read_samples(config, 2))
    network = build_model(config).eval()
    with torch.no_grad():
        image, _ = network.image(looked.plain.waveforms[0])
    torch.testing.assert_close(looked.plain.image, image)
    assert looked.front_end == "ComplexMorletCWT"
    assert len(looked.frequencies) == image.shape[-2] == 32
    assert looked.frequencies[[0, -1]] == pytest.approx([480, 20])


def test_a_tone_is_brightest_in_the_row_of_its_frequency(tables) -> None:
    """Of an image that is resized as well: 64 rows of the wavelets become 48, 7 % apart."""
    settings = ["model_params.spec_params.n_scales=64", "model_params.resize_img=(48,128)"]
    config = override(configs.DemoSpec, [*tables, *settings])
    samples = read_samples(config, 1)
    time = np.arange(4096) / 2048
    tone = torch.tensor(1e-19 * np.sin(2 * np.pi * 150 * time), dtype=torch.float32)
    loud = type(samples)(
        samples.ids,
        samples.labels,
        samples.strain,
        tone.expand_as(samples.strain),
        samples.trained,
        "a tone",
    )
    looked = prepare(config, loud)
    row = int(looked.plain.image[0, 0, :, 30:-30].mean(-1).argmax())
    assert looked.frequencies[row] == pytest.approx(150, rel=0.08)


def test_networks_of_two_inputs_have_both(tables) -> None:
    flipped = {"train": (Part(FlipWave, always_apply=True),), "test": None}
    scaled = Part(Normalize, factors=(1e-20,) * 3)
    settings = {"transforms": {"train": (scaled,), "test": (scaled,)}, "transforms2": flipped}
    config = override(
        ConfigMeta("Two", (configs.Demo,), {"name": "two", **settings}, register=False), tables
    )
    looked = prepare(config, read_samples(config, 1))
    assert len(looked.plain.waveforms) == len(looked.augmented.waveforms) == 2
    torch.testing.assert_close(looked.plain.waveforms[1], looked.samples.strain)
    torch.testing.assert_close(looked.augmented.waveforms[1], -looked.samples.strain)
    assert looked.augmented.transforms == ("Normalize", "FlipWave")
    assert looked.plain.transforms == ("Normalize", "none")


def test_transforms_are_named_in_order() -> None:
    assert describe(configs.Demo.transforms["test"]) == "Whiten"
    assert describe(None) == describe(()) == "none"
    assert describe(Part(FlipWave)) == "FlipWave"


def test_frequencies_of_resized_rows_lie_where_torch_puts_them() -> None:
    rows = np.geomspace(480, 20, 32)
    np.testing.assert_allclose(resized(rows, 32), rows)
    halved = resized(rows, 16)  # the middle of two rows each
    np.testing.assert_allclose(halved, np.sqrt(rows[::2] * rows[1::2]))
