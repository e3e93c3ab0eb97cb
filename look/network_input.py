"""What the transforms and the front-end of an experiment make of some samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from configuration.types import accepted_arguments
from experiments.building import build_model, build_preparation, draws_its_samples, observation_of
from look.samples import CPU, Samples
from models2d.spectrogram_image import SpectrogramImage
from physics.observation import Observation
from runtime.seeds import seed_everything
from training_extras import WAVEFORMS


@dataclass(frozen=True)
class Stage:
    """The input of the network in one stage.

    Attributes:
        waveforms: (n, channel, time) each; the second one of networks of two inputs.
        transforms: what was done, e.g. 'Whiten, FlipWave'.
        image: (n, channel, row, column) of the front-end; None for networks on waveforms.
    """

    waveforms: tuple[Tensor, ...]
    transforms: tuple[str, ...]
    image: Tensor | None


@dataclass(frozen=True)
class NetworkInput:
    """Samples, and the input of the network in validation and in training.

    Attributes:
        config: of the experiment.
        samples: as they were read or drawn.
        plain: as validation and prediction prepare them.
        augmented: as a step of the training prepares them, one draw of many.
        front_end: in a few words; empty for networks on waveforms.
        frequencies: (rows,) Hz of the image, row 0 first; None where the front-end has none.
    """

    config: ConfigMeta
    samples: Samples
    plain: Stage
    augmented: Stage
    front_end: str
    frequencies: np.ndarray | None

    @property
    def observation(self) -> Observation:
        return observation_of(self.config)


@torch.no_grad()
def prepare(config: ConfigMeta, samples: Samples, seed: int = 0) -> NetworkInput:
    """Return the input that the network of an experiment has of some samples.

    Args:
        config: of the experiment; its network starts from random weights.
        samples: of `look.samples`.
        seed: of the augmentations and of a front-end that is learned.

    Raises:
        UserError: transforms, front-end or network cannot be built, or do not take the strain.
    """
    with torch.random.fork_rng(devices=[]):
        seed_everything(seed, "look")
        images = find_front_end(config)
        plain = run_stage(config, "test", samples.tested, images)
        seed_everything(seed, "look", "augmentations")
        augmented = run_stage(config, "train", samples.trained, images)
    front_end, frequencies = "", None
    if images is not None:
        front_end = type(images.spectrogram).__name__
        rows = getattr(images.spectrogram, "row_frequencies", None)
        if rows is not None:
            frequencies = resized(np.asarray(rows), plain.image.shape[-2])
    return NetworkInput(config, samples, plain, augmented, front_end, frequencies)


def find_front_end(config: ConfigMeta) -> SpectrogramImage | None:
    """Return what makes images of strain in the network of an experiment; None without images."""
    # A bank of templates makes no images, and would be computed from thousands of waveforms.
    if "bank_size" in (accepted_arguments(config.model) or ()):
        return None
    network = build_model(config)
    return next((part for part in network.modules() if isinstance(part, SpectrogramImage)), None)


def run_stage(
    config: ConfigMeta, stage: str, strain: Tensor, images: SpectrogramImage | None
) -> Stage:
    """Return what a stage, 'train' or 'test', makes of strain (n, detector, time)."""
    batch = build_preparation(config, stage, CPU)({"waveform": strain})
    waveforms = tuple(batch[key] for key in WAVEFORMS if key in batch)
    before = "drawn whitened, then " if stage == "train" and draws_whitened(config) else ""
    names = [before + describe(config.transforms[stage])]
    if config.transforms2 is not None:
        names.append(before + describe(config.transforms2[stage]))
    if images is None:
        return Stage(waveforms, tuple(names), None)
    images.check_sample_rate(waveforms[0])
    # Augmentations of images run in training alone; batch norms of a learned front-end, whose
    # statistics are those of no data yet, take the ones of this batch in both stages.
    images.train(stage == "train")
    for part in images.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.train()
    image, _ = images(waveforms[0])
    return Stage(waveforms, tuple(names), image)


def draws_whitened(config: ConfigMeta) -> bool:
    """Whether the data set draws samples that are whitened already."""
    return draws_its_samples(config) and config.dataset_params.get("whiten") is not None


def describe(parts: Part | Sequence[Part] | None) -> str:
    """Return transforms in words: 'Whiten, FlipWave'; 'none' without any."""
    if isinstance(parts, Part):
        parts = (parts,)
    names = [getattr(part, "cls", type(part)).__name__ for part in parts or ()]
    return ", ".join(names) or "none"


def resized(frequencies: np.ndarray, rows: int) -> np.ndarray:
    """Return frequencies (rows,) of an image that was resized from as many rows as there are.

    They are interpolated in their logarithm, since rows are geometric.
    """
    old = len(frequencies)
    # the middles of the new rows, in units of the old ones, as torch resizes
    place = (np.arange(rows) + 0.5) * old / rows - 0.5
    slope = np.log(frequencies[-1] / frequencies[0]) / max(old - 1, 1)
    return frequencies[0] * np.exp(slope * place)
