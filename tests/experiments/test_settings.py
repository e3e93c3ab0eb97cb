"""Defaults of every experiment, and the short forms in which configs share their settings."""

from __future__ import annotations

import torch

import configs
from configuration.class_with_arguments import Part
from experiments.pseudo_labels import PseudoLabels
from experiments.settings import (
    FLIP,
    NOISE,
    PEAKS,
    Config,
    adam,
    band_passed,
    cosine,
    labels_of,
    model_with,
    published_scores,
)
from transforms import BandPass, Normalize


def test_every_part_of_the_defaults_can_be_built() -> None:
    parts = {key: getattr(Config, key) for key in Config.fields()}
    parts = {key: value for key, value in parts.items() if isinstance(value, Part)}
    assert {"observation", "criterion", "eval_metric", "hook"} <= set(parts)
    for part in (*parts.values(), *Config.callbacks):
        part.build()
    Config.scheduler(
        Config.optimizer([torch.nn.Parameter(torch.zeros(1))], **Config.optimizer_params),
        **Config.scheduler_params,
    )


def test_one_cosine_takes_its_length_from_the_epochs_unless_it_is_given() -> None:
    assert "T_0" not in cosine()
    assert cosine(7) == {"T_0": 7, "T_mult": 1, "eta_min": 1e-6}
    assert adam(3e-4) == {"lr": 3e-4, "weight_decay": Config.optimizer_params["weight_decay"]}


def test_augmentations_follow_the_band_pass_in_training_alone() -> None:
    scale = Part(Normalize, factors=PEAKS)
    band = Part(BandPass, lower=16, upper=512, order=8)
    assert band_passed(16, 512, NOISE, FLIP) == {
        "train": (scale, band, NOISE, FLIP),
        "test": (scale, band),
    }
    assert band_passed(16, 512, order=8, normalize=False) == {"train": (band,), "test": (band,)}


def test_changed_model_arguments_leave_the_config_as_it_is() -> None:
    before = dict(configs.Nspec16.model_params)
    changed = model_with(configs.Nspec16, {"hop_length": 7}, model_name="resnet18")
    assert dict(configs.Nspec16.model_params) == before
    assert changed["model_name"] == "resnet18"
    # Of the front-end's arguments only the named one differs.
    assert changed["spec_params"] == {**before["spec_params"], "hop_length": 7}
    assert {**changed, **before} == before


def test_labels_of_an_experiment_are_read_from_its_run() -> None:
    assert labels_of(configs.Nspec16, hard_label=True) == Part(
        PseudoLabels, source="nspec_16", hard_label=True
    )


def test_published_scores_have_the_keys_that_the_stack_reads() -> None:
    assert published_scores(0.87, 0.88, 0.89, 3) == {
        "cv": 0.87,
        "public": 0.88,
        "private": 0.89,
        "column": 3,
        "tta": False,
    }
