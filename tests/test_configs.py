"""Every published experiment against its specification, and what is deliberately different."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import configs
import transforms as wave
from benchmarks.network_sizes import measured_experiments
from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from runtime.errors import UserError

# What the reference calls otherwise: its name of 2021 stands for other weights now.
PINNED = {
    "densenet201": "densenet201.tv_in1k",
    "resnet200d": "resnet200d.ra2_in1k",
    "tf_efficientnet_b2": "tf_efficientnet_b2.aa_in1k",
    "tf_efficientnet_b3_ns": "tf_efficientnet_b3.ns_jft_in1k",
    "tf_efficientnet_b4_ns": "tf_efficientnet_b4.ns_jft_in1k",
    "tf_efficientnet_b6_ns": "tf_efficientnet_b6.ns_jft_in1k",
    "tf_efficientnet_b7": "tf_efficientnet_b7.ra_in1k",
    "tf_efficientnet_b7_ns": "tf_efficientnet_b7.ns_jft_in1k",
    "tf_efficientnetv2_l": "tf_efficientnetv2_l.in1k",
    "tf_efficientnetv2_m": "tf_efficientnetv2_m.in1k",
    "xcit_tiny_12_p16_384_dist": "xcit_tiny_12_p16_384.fb_dist_in1k",
}
# field -> what the reference's value is here, and why
DIFFERENT = {
    "model_params.model_name": (PINNED, "weights are named with their tag"),
    "max_grad_norm": (
        {10_000: 0.15, 1_000: 0.015},
        "limits of gradients that were scaled by 65,536, on unscaled ones",
    ),
    "model": ({"densenet121_1d": "DenseNet1d"}, "its defaults are those of the 121"),
    "model_params.spec_params.wave_block": ({"none": "gated"}, "the name says what it is"),
}
# The reference's null pseudo-label path, snapshots and tta transforms have no setting here: the
# source is named by its class, the trainer itself saves, and views make the test-time variants.


@pytest.fixture(scope="module")
def spec(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "spec" / "experiments.json").read_text())


def full(cls: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return constructor arguments with the defaults of those not given, in JSON's types."""
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is not parameter.empty
    }
    values = {**defaults, **params}
    # The specification has the competition's numbers where this project has the observation.
    observation = values.pop("observation", None)
    if observation is not None and values.get("sr", 0) is None:
        values["sr"] = observation.sample_rate
    return to_plain(values)


def here(config: ConfigMeta) -> dict[str, Any]:
    """Return a config in the form of the specification, every default filled in."""
    params = dict(config.model_params)
    if "spec_params" in params:
        params["spec_params"] = full(params["spectrogram"], params["spec_params"])
    criterion = full(config.criterion.cls, config.criterion.params)
    pseudo = config.pseudo_labels and full(config.pseudo_labels.cls, config.pseudo_labels.params)
    return {
        "name": config.name,
        "parent": config.__base__.__name__,
        **{
            key: to_plain(getattr(config, key))
            for key in (
                "seed",
                "debug",
                "train_path",
                "test_path",
                "train_cache",
                "test_cache",
                "cv",
                "weight_path",
                "num_epochs",
                "batch_size",
                "amp",
                "deterministic",
                "clip_grad",
                "max_grad_norm",
                "dataset_params",
                "monitor_metrics",
            )
        },
        "dataset": config.dataset.__name__,
        "splitter": {
            "type": config.splitter,
            "n_splits": config.cv,
            **to_plain(config.splitter_params),
        },
        "model": config.model.__name__,
        "model_params": full(config.model, params),
        "optimizer": {
            "name": config.optimizer.__name__,
            "params": to_plain(config.optimizer_params),
        },
        "scheduler": {
            "name": config.scheduler.__name__,
            "params": to_plain(config.scheduler_params),
            "target": config.scheduler_target,
            "per_batch": config.batch_scheduler,
        },
        "criterion": {"name": config.criterion.cls.__name__, "smoothing": criterion["smoothing"]},
        "eval_metric": config.eval_metric.cls.__name__,
        "hook": config.hook.cls.__name__,
        "early_stopping": full(config.callbacks[0].cls, config.callbacks[0].params),
        "callbacks": len(config.callbacks),
        "transforms": {
            stage: [
                {"name": part.cls.__name__, **full(part.cls, part.params)}
                for part in config.transforms[stage] or ()
            ]
            for stage in ("train", "test")
        },
        "pseudo_labels": pseudo,
        "ema_decay": config.ema_decay,
        "accumulate": config.accumulate,
    }


def expected(entry: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return an entry of the specification in the same form."""
    config = getattr(configs, entry["class"])
    params = dict(entry["model_params"])
    if "spec_params" in params:
        front_end = config.model_params["spectrogram"]
        params["spec_params"] = full(front_end, params["spec_params"])
    pseudo = entry["pseudo_labels"]
    if pseudo:
        source = names[entry["pseudo_label_source_class"]]
        assert pseudo["path"] == f"results/{source}/predictions.npy"
        pseudo = {**{k: v for k, v in pseudo.items() if k != "path"}, "source": source}
    stopping, snapshot = entry["callbacks"]
    assert snapshot["name"] == "SaveSnapshot"
    assert entry["hook"]["params"] == {"evaluate_in_batch": False}
    assert entry["parallel"] is None
    transforms = entry["transforms"]
    assert (transforms.get("tta") or []) == (transforms.get("test") or [])
    # Arguments that are ours alone, as BandPass's taper, stand at their defaults.
    kept = (
        "name",
        "seed",
        "debug",
        "train_path",
        "test_path",
        "train_cache",
        "test_cache",
        "cv",
        "weight_path",
        "num_epochs",
        "batch_size",
        "amp",
        "deterministic",
        "clip_grad",
        "max_grad_norm",
        "dataset_params",
        "monitor_metrics",
        "dataset",
        "splitter",
        "model",
        "optimizer",
        "scheduler",
        "eval_metric",
    )
    wanted = {key: entry[key] for key in kept} | {
        "parent": entry["parent"] or "Config",
        "model_params": full(config.model, params),
        "criterion": {
            "name": entry["criterion"]["name"],
            "smoothing": entry["criterion"]["smooth_eps"] or 0.0,
        },
        "hook": entry["hook"]["name"],
        "early_stopping": stopping["params"],
        "callbacks": 1,
        "transforms": {
            stage: [
                {"name": part["name"], **full(getattr(wave, part["name"]), part["params"])}
                for part in transforms.get(stage) or []
            ]
            for stage in ("train", "test")
        },
        "pseudo_labels": pseudo or None,
        "ema_decay": None,
        "accumulate": 1,
    }
    for path, (values, _why) in DIFFERENT.items():
        *above, key = path.split(".")
        place: Any = wanted
        for step in above:
            place = place.get(step) or {}
        if place.get(key) in values:
            place[key] = values[place[key]]
    return wanted


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            line
            for key in sorted({*first, *second})
            for line in differences(
                first.get(key, "(absent)"), second.get(key, "(absent)"), f"{path}.{key}"
            )
        ]
    return [] if first == second else [f"{path}: {first!r} here, {second!r} in the specification"]


def test_all_51_are_there(spec: dict[str, Any]) -> None:
    assert len(spec["configs"]) == 51
    assert set(spec["configs"]) <= set(ConfigMeta.registry)


def test_every_field_of_every_config(spec: dict[str, Any]) -> None:
    names = {key: entry["name"] for key, entry in spec["configs"].items()}
    found = {}
    for key, entry in spec["configs"].items():
        lines = differences(here(getattr(configs, key)), expected(entry, names))
        if lines:
            found[key] = lines
    assert not found, "\n".join(f"{key}{line}" for key, lines in found.items() for line in lines)


def test_the_table_of_differences_is_needed(spec: dict[str, Any]) -> None:
    """Each named difference occurs, so that none can hide a later mistake."""
    for path, (values, _why) in DIFFERENT.items():
        seen = set()
        for entry in spec["configs"].values():
            value: Any = entry
            for step in path.split("."):
                value = value.get(step) if isinstance(value, dict) else None
            seen.add(value if not isinstance(value, dict | list) else None)
        assert set(values) <= seen, path


def test_published_scores_and_stacking_order(spec: dict[str, Any]) -> None:
    finals = {entry["config_class"]: entry for entry in spec["final_experiments"]}
    for name, config in ConfigMeta.registry.items():
        if name not in finals:
            assert config.published == {}, name
            continue
        entry = finals[name]
        assert dict(config.published) == {
            "cv": entry["cv_auc"],
            "public": entry["public_lb"],
            "private": entry["private_lb"],
            "column": entry["stacking_column"],
            "tta": entry["tta_used_in_stacking"],
        }
    ours = sorted(
        (config for config in ConfigMeta.registry.values() if config.published),
        key=lambda config: config.published["column"],
    )
    assert [config.name for config in ours] == spec["stacking_column_order"]


def test_a_child_states_only_what_differs() -> None:
    for name in measured_experiments():  # not those that a reader adds
        config = ConfigMeta.registry[name]
        for key in config.fields():
            if key in vars(config) and key not in ("name", "published"):
                assert getattr(config.__base__, key) != getattr(config, key), f"{name}.{key}"


def test_no_class_can_change_another() -> None:
    with pytest.raises(TypeError):
        configs.Nspec25.model_params["model_name"] = "resnet18"
    with pytest.raises(TypeError):
        configs.Nspec25.model_params["spec_params"]["base_filters"] = 8
    with pytest.raises(UserError, match="is fixed"):
        configs.Nspec25.num_epochs = 1
    assert configs.Nspec25.model_params["model_name"] == "tf_efficientnet_b2.aa_in1k"
    assert configs.Nspec25arch1.model_params["model_name"] == "tf_efficientnet_b3.ns_jft_in1k"


def test_published_scores_are_not_inherited() -> None:
    child = ConfigMeta("Child", (configs.Pseudo07,), {"name": "child"}, register=False)
    assert child.published == {}
    assert child.pseudo_labels == configs.Pseudo07.pseudo_labels
