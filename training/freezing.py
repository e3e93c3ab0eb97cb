"""Parts of a network that the first epochs leave as they are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from runtime.errors import UserError
from training import distributed
from training.network_parts import check_parts, modules_of_part, part_of_parameters


@dataclass(frozen=True)
class Freeze:
    """Leaves parts of the network as they are during the first epochs.

    So a new head can settle before its gradients reach pretrained weights. A frozen batch norm
    keeps its running statistics as well and normalises with them.

    Args:
        parts: of 'front_end', 'backbone' and 'head'.
        epochs: how many; what is frozen follows from the epoch alone, so that a resumed fit
            continues with the same parts.

    Raises:
        UserError: an unknown part, none, all, or no epoch.
    """

    parts: tuple[str, ...] = ("backbone",)
    epochs: int = 1

    def __post_init__(self) -> None:
        check_parts("Freeze", self.parts)
        if not self.parts or self.epochs < 1:
            raise UserError(
                f"Freeze: parts = {self.parts!r}, epochs = {self.epochs}: name at least one part "
                f"and one epoch, or set freeze = None"
            )

    def check(self, model: nn.Module) -> None:
        """Raise a UserError where the network has no such part, or nothing would be left."""
        parts = part_of_parameters(model)
        for name in self.parts:
            if name not in parts.values():
                raise UserError(
                    f"Freeze: {type(model).__name__} has no {name} with weights: leave it out of "
                    f"freeze.parts"
                )
        if set(parts.values()) <= set(self.parts):
            raise UserError(
                f"Freeze: parts = {self.parts!r} is all of {type(model).__name__}: leave one out"
            )

    def frozen_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        parts = part_of_parameters(model)
        return [
            parameter for name, parameter in model.named_parameters() if parts[name] in self.parts
        ]

    def apply(self, model: nn.Module, epoch: int) -> None:
        """Freeze or release the parts; call it after `model.train()`.

        Args:
            epoch: epochs completed.
        """
        frozen = epoch < self.epochs
        # DDP has noted at its start which parameters have gradients, so that with several processes
        # these stay, and `drop_gradients` removes them. Alone, nothing of them is computed.
        if distributed.world_size() == 1:
            for parameter in self.frozen_parameters(model):
                parameter.requires_grad_(not frozen)
        if frozen:
            for part in self.parts:
                for module in modules_of_part(model, part):
                    if isinstance(module, nn.modules.batchnorm._NormBase):
                        module.eval()

    def drop_gradients(self, model: nn.Module, epoch: int) -> None:
        """Remove the gradients of frozen parts, so that the optimiser passes over them."""
        if epoch < self.epochs:
            for parameter in self.frozen_parameters(model):
                parameter.grad = None
