"""Learning rates and weight decay by part and depth of a network."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from runtime.errors import UserError
from training.network_parts import layer_of_parameters, part_of_parameters


@dataclass(frozen=True)
class ParameterGroups:
    """Divides the weights of a network into groups with a learning rate and a weight decay each.

    With λ the learning rate of the optimiser, f the factor of a part, d = `layer_decay` and L + 1
    the layer of the head, weights of layer l get

        λ f d^(L + 1 - l).

    The front-end is layer 0, the backbone has the layers 1 to L. Schedules scale all rates alike;
    a rate that a schedule ends at, such as `eta_min`, is the same for all.

    Args:
        front_end, backbone, head: factors on the learning rate of these parts.
        layer_decay: d; None for 1. 0.65 to 0.9 is usual for fine-tuning transformers.
        decay_norms: also decay norms, biases and other vectors, and what the backbone itself
            exempts, such as position tables; by default they have no weight decay.

    Raises:
        UserError: a factor or a decay that is not positive.
    """

    front_end: float = 1.0
    backbone: float = 1.0
    head: float = 1.0
    layer_decay: float | None = None
    decay_norms: bool = False

    def __post_init__(self) -> None:
        for name in ("front_end", "backbone", "head"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"ParameterGroups: {name} = {getattr(self, name)}: expected a factor above 0; "
                    f"to leave a part as it is, --set freeze=Freeze freeze.parts=[{name}]"
                )
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise UserError(
                f"ParameterGroups: layer_decay = {self.layer_decay}: expected a number above 0 and "
                f"up to 1"
            )

    def split(
        self, model: nn.Module, optimizer: type, params: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Return the groups as optimisers of torch take them, those with the plain rate first.

        Args:
            optimizer: the class, whose default learning rate counts where none is given.
            params: its arguments.

        Raises:
            UserError: the optimiser has no learning rate.
        """
        rate = params.get("lr", default_rate(optimizer))
        if rate is None:
            raise UserError(
                f"parameter_groups: {optimizer.__name__} has no learning rate of its own: "
                f"--set optimizer_params.lr=1e-3"
            )
        parts, layers = part_of_parameters(model), layer_of_parameters(model)
        deepest = max(layers.values(), default=0)
        exempt = names_without_decay(model)
        groups: dict[tuple[float, bool], dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            factor = getattr(self, parts[name])
            if self.layer_decay is not None:
                factor *= self.layer_decay ** (deepest - layers[name])
            # Vectors are biases, the gains of norms, and single numbers such as a trained width.
            decays = self.decay_norms or (parameter.ndim > 1 and name not in exempt)
            group = groups.setdefault(
                (factor, decays), {"params": [], "lr": rate * factor, "rate_factor": factor}
            )
            if not decays:
                group["weight_decay"] = 0.0
            group["params"].append(parameter)
        # The log says the rate of the first group: the one that the config states, if it is used.
        return [groups[key] for key in sorted(groups, key=lambda key: (key[0] != 1.0, -key[0]))]


def default_rate(optimizer: type) -> float | None:
    """Return the learning rate that an optimiser has where none is given."""
    parameter = inspect.signature(optimizer).parameters.get("lr")
    known = parameter is not None and isinstance(parameter.default, int | float)
    return parameter.default if known else None


def names_without_decay(model: nn.Module) -> set[str]:
    """Return the parameters that the networks inside of a model exempt, as timm's do."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if hasattr(module, "no_weight_decay")
        for name in module.no_weight_decay()
    }
