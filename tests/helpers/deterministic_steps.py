"""Steps of experiments that must be equal bit by bit with `deterministic = True`."""

from __future__ import annotations

from pathlib import Path

import torch

import configs
from benchmarks.harness.timed_steps import TINY
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.building import build_model, observation_of
from experiments.fold_trainer import build_fold_trainer
from experiments.run_options import RunOptions

# A network on the waveform, wavelets, a learned front-end, and the two networks of ours.
DETERMINISTIC = ("Wave01", "Spec02", "Wave07", "Seq03aug3", "Nspec16")


def deterministic_config(name: str, small: bool) -> ConfigMeta:
    """Return an experiment with `deterministic = True`, its network tiny if `small`."""
    tiny = TINY.get(name, []) if small else []
    return override(getattr(configs, name), [*tiny, "deterministic=true"])


def two_steps(config: ConfigMeta, device: torch.device, folder: Path) -> dict[str, torch.Tensor]:
    """Train two of the trainer's own steps on random strain; return all weights.

    Transforms, augmentations, precision, scaler, clipping and optimiser are the config's.
    """
    torch.manual_seed(0)
    observation, whitened = observation_of(config), "whiten" in config.dataset_params
    length = observation.num_samples // (2 if whitened else 1)
    strain = torch.randn(4, observation.num_detectors, length) * (1.0 if whitened else 1e-20)
    batch = {
        "waveform": strain,
        "target": torch.tensor([[0.0], [1.0], [0.0], [1.0]]),
        "index": torch.arange(4),
    }
    model = build_model(config).to(device)
    options = RunOptions(results=folder, show_progress=False)
    trainer = build_fold_trainer(config, options, device, folder, 0, model, updates_per_epoch=2)
    model.train()
    torch.manual_seed(1)
    for step in range(2):
        trainer.state.step = step
        trainer.train_step(trainer.prepare_batch(batch, "train"), 1.0, last=step == 1)
    assert trainer.state.updates == 2  # none was left out for a bad number
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
