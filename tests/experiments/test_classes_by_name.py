"""Every class that `--set` can name, found by name and of the kind that its setting holds."""

import pytest
import torch

import configs
from configuration.config_class import ConfigMeta
from experiments.classes_by_name import CHOICES, find_class_choices


@pytest.mark.parametrize("setting", CHOICES)
def test_each_setting_offers_classes_by_their_names(setting: str) -> None:
    choices = find_class_choices((setting,))
    assert choices.classes
    for name, cls in choices.classes.items():
        assert isinstance(cls, type)
        assert cls.__name__ == name
        assert not name.startswith("_")


def test_what_the_configs_name_can_be_named() -> None:
    for config in ConfigMeta.registry.values():
        for key in ("model", "optimizer", "scheduler", "dataset"):
            assert getattr(config, key).__name__ in find_class_choices((key,)).classes
        for key in ("criterion", "eval_metric", "hook"):
            assert getattr(config, key).cls.__name__ in find_class_choices((key,)).classes
        for stage in ("train", "test"):
            for part in config.transforms[stage] or ():
                assert part.cls.__name__ in find_class_choices(("transforms", stage)).classes
        for part in config.callbacks:
            assert part.cls.__name__ in find_class_choices(("callbacks",)).classes
        if "spectrogram" in config.model_params:
            name = config.model_params["spectrogram"].__name__
            assert name in find_class_choices(("model_params", "spectrogram")).classes


def test_bases_and_helpers_are_not_offered() -> None:
    transforms = find_class_choices(("transforms", "train")).classes
    assert "WaveTransform" not in transforms
    assert "Compose" not in transforms
    assert all(issubclass(cls, torch.nn.Module) for cls in transforms.values())
    assert "Optimizer" not in find_class_choices(("optimizer",)).classes
    assert "LRScheduler" not in find_class_choices(("scheduler",)).classes
    assert "WeightAverage" not in find_class_choices(("callbacks",)).classes
    assert "SpectrogramImage" not in find_class_choices(("model",)).classes


def test_the_last_name_of_a_path_decides() -> None:
    assert find_class_choices(("dataset_params", "whiten")).kind == "transform"
    assert find_class_choices(("model_params", "augmentations")).kind == "image transform"
    assert find_class_choices(("num_epochs",)) is None
    assert "CosineLRScheduler" in find_class_choices(("scheduler",)).classes  # one of timm's
    assert torch.optim.SGD in find_class_choices(("optimizer",)).classes.values()


def test_losses_and_networks_of_the_faces_are_all_there() -> None:
    assert set(find_class_choices(("criterion",)).classes) >= {"BCEWithLogitsLoss", "RankLoss"}
    assert set(find_class_choices(("model",)).classes) >= {
        configs.Demo.model.__name__,
        configs.DemoSpec.model.__name__,
    }
