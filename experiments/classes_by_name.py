"""Which classes `--set` can name, setting by setting: `--set criterion=RankLoss`.

A class is offered because it stands in a file that configs import from: a new transform in
transforms.py or a new network in models1d/ can be named at once, by its class name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

import architectures
import loss_functions
import metrics
import models1d
import spectrograms
import training_extras
import transforms
from configuration.config_class import ClassChoices
from datasets import G2NetDataset
from experiments.pseudo_labels import PseudoLabels
from experiments.side_targets import SideTarget
from experiments.targets import TARGETS
from physics.distance_laws import DISTANCE_LAWS
from physics.mass_laws import MASS_LAWS
from physics.spin_laws import SPIN_LAWS
from signal_transforms import image_augmentations
from signal_transforms.base import Compose, OneOf, WaveTransform
from simulation.dataset_on_the_fly import SimulatedDataset
from simulation.glitch_noise import Glitches
from simulation.real_strain import RealStrain
from simulation.training_noise import Gaussian
from spectrograms import MultiSpectrogram
from training.optimizers import NO_MUON, optimizer_classes
from training.schedules import LENGTHS
from training_extras import (
    CheckpointAverage,
    Freeze,
    Lookahead,
    ParameterGroups,
    TrainHook,
    WarmupCosine,
)


def public_classes(module: ModuleType, wanted: Callable[[type], bool]) -> list[type]:
    """Return the classes that a module exposes: those in `__all__`, or else its own."""
    if hasattr(module, "__all__"):
        found = [getattr(module, name) for name in module.__all__]
    else:
        found = [value for value in vars(module).values() if is_from(module, value)]
    return [cls for cls in found if isinstance(cls, type) and wanted(cls)]


def is_from(module: ModuleType, value: Any) -> bool:
    """Whether a module, or a package with its files, defines a class itself."""
    home = getattr(value, "__module__", "")
    return home == module.__name__ or home.startswith(f"{module.__name__}.")


def by_name(classes: Iterable[type]) -> dict[str, type]:
    return {cls.__name__: cls for cls in classes if not cls.__name__.startswith("_")}


def below(base: type) -> Callable[[type], bool]:
    """Return whether a class is a proper child of `base`, as a function."""
    return lambda cls: issubclass(cls, base) and cls is not base


def networks() -> ClassChoices:
    # `build_model` gives each of them the config's arguments and a batch of strain; what only
    # serves inside of them, as SpectrogramImage, can give no logits.
    classes = [
        *public_classes(models1d, below(nn.Module)),
        architectures.SpectroCNN,
        architectures.MultiInstanceSCNN,
    ]
    return ClassChoices("network", by_name(classes), beside=True)


def front_ends() -> ClassChoices:
    # MultiSpectrogram takes a list of classes, which is written in a config and not in a word.
    classes = public_classes(
        spectrograms, lambda cls: below(nn.Module)(cls) and cls is not MultiSpectrogram
    )
    return ClassChoices("front-end", by_name(classes), beside=True)


def losses() -> ClassChoices:
    return ClassChoices("loss", by_name(public_classes(loss_functions, below(nn.Module))))


def scores() -> ClassChoices:
    return ClassChoices(
        "metric", by_name(public_classes(metrics, lambda cls: hasattr(cls, "maximize")))
    )


def hooks() -> ClassChoices:
    classes = public_classes(training_extras, lambda cls: issubclass(cls, TrainHook))
    return ClassChoices("hook", by_name(classes))


def callbacks() -> ClassChoices:
    classes = public_classes(training_extras, lambda cls: hasattr(cls, "on_epoch_end"))
    return ClassChoices("callback", by_name(classes))


def waveform_transforms() -> ClassChoices:
    # Compose and OneOf hold modules, which a config cannot.
    classes = public_classes(transforms, below(nn.Module))
    named = [cls for cls in classes if cls not in (WaveTransform, Compose, OneOf)]
    return ClassChoices("transform", by_name(named))


def image_transforms() -> ClassChoices:
    return ClassChoices(
        "image transform",
        by_name(public_classes(image_augmentations, below(image_augmentations.ImageTransform))),
    )


def datasets_by_name() -> ClassChoices:
    given = ("paths", "targets", "ids", "cache", "is_test", "device", "observation", "population")
    given = (*given, "side_targets")
    return ClassChoices("data set", by_name([G2NetDataset, SimulatedDataset]), True, given)


def noises() -> ClassChoices:
    given = ("device", "observation")
    return ClassChoices("noise", by_name([Gaussian, Glitches, RealStrain]), given=given)


def optimizers() -> ClassChoices:
    missing = {"Muon": NO_MUON}  # where both packages are older
    return ClassChoices("optimizer", optimizer_classes(), True, ("params",), missing)


def extra(cls: type, kind: str) -> Callable[[], ClassChoices]:
    """Return the choices of a setting that takes one class or none, as a function."""
    return lambda: ClassChoices(kind, by_name([cls]))


def schedules() -> ClassChoices:
    import timm.scheduler  # only here, as it is slow to import
    from timm.scheduler.scheduler import Scheduler

    # Left out are those that take functions or other schedules, which no literal can say.
    own = [
        cls
        for cls in vars(torch.optim.lr_scheduler).values()
        if inspect.isclass(cls)
        and below(LRScheduler)(cls)
        and not {"lr_lambda", "schedulers"} & set(inspect.signature(cls).parameters)
    ]
    of_timm = [
        cls
        for cls in vars(timm.scheduler).values()
        if inspect.isclass(cls) and below(Scheduler)(cls)
    ]
    given = ("optimizer", *LENGTHS)  # a length that is left out is filled in
    return ClassChoices("schedule", by_name([WarmupCosine, *own, *of_timm]), True, given)


def label_sources() -> ClassChoices:
    return ClassChoices("source of labels", by_name([PseudoLabels]))


def laws(kind: str, classes: Mapping[str, type]) -> Callable[[], ClassChoices]:
    """Return the choices of one kind of laws of a population, as a function."""
    return lambda: ClassChoices(kind, classes)


# The last of these names in a setting's path decides: `transforms.train.0` is a transform,
# `model_params.augmentations` an image transform, `dataset_params.whiten` a transform again.
CHOICES: dict[str, Callable[[], ClassChoices]] = {
    "model": networks,
    "spectrogram": front_ends,
    "augmentations": image_transforms,
    "augmentations_test": image_transforms,
    "dataset": datasets_by_name,
    "whiten": waveform_transforms,
    "noise": noises,
    "transforms": waveform_transforms,
    "transforms2": waveform_transforms,
    "optimizer": optimizers,
    "parameter_groups": extra(ParameterGroups, "division into parameter groups"),
    "lookahead": extra(Lookahead, "optimizer around another"),
    "freeze": extra(Freeze, "way to freeze"),
    "checkpoint_average": extra(CheckpointAverage, "average of checkpoints"),
    "scheduler": schedules,
    "criterion": losses,
    "eval_metric": scores,
    "monitor_metrics": scores,
    "targets": lambda: ClassChoices("target", TARGETS),
    "side_targets": lambda: ClassChoices("side target", by_name([SideTarget])),
    "hook": hooks,
    "callbacks": callbacks,
    "pseudo_labels": label_sources,
    "masses": laws("law of masses", MASS_LAWS),
    "spins": laws("law of spins", SPIN_LAWS),
    "distance": laws("law of distances", DISTANCE_LAWS),
}


@functools.cache
def find_class_choices(path: tuple[str, ...]) -> ClassChoices | None:
    """Return the classes that the setting at a path, without positions, can name."""
    for name in reversed(path):
        if name in CHOICES:
            return CHOICES[name]()
    return None
