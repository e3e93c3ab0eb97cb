"""Steps of experiments that must be equal bit by bit with `deterministic = True`."""

from __future__ import annotations

import torch

import configs
from benchmarks.harness.timed_steps import TINY
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.building import build_model, build_optimizer, build_preparation, observation_of
from experiments.objectives import build_objective

# A network on the waveform, wavelets, a learned front-end, and the two networks of ours.
DETERMINISTIC = ("Wave01", "Spec02", "Wave07", "Seq03aug3", "Nspec16")


def deterministic_config(name: str, small: bool) -> ConfigMeta:
    """Return an experiment with `deterministic = True`, its network tiny if `small`."""
    tiny = TINY.get(name, []) if small else []
    return override(getattr(configs, name), [*tiny, "deterministic=true"])


def two_steps(config: ConfigMeta, device: torch.device) -> dict[str, torch.Tensor]:
    """Train two steps on random strain, transforms and augmentations included."""
    torch.manual_seed(0)
    observation, whitened = observation_of(config), "whiten" in config.dataset_params
    length = observation.num_samples // (2 if whitened else 1)
    strain = torch.randn(4, observation.num_detectors, length) * (1.0 if whitened else 1e-20)
    batch = {"waveform": strain, "target": torch.tensor([[0.0], [1.0], [0.0], [1.0]])}
    batch = {key: value.to(device) for key, value in batch.items()}
    model = build_model(config).to(device).train()
    optimizer = build_optimizer(config, model, device)
    objective = build_objective(config, [])
    preparation = build_preparation(config, "train", device)
    torch.manual_seed(1)
    for _ in range(2):
        with torch.no_grad():
            prepared = preparation(batch)
        loss, _, _ = objective.hook.forward_train(model, prepared, objective.criterion)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
