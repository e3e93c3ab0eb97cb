"""Transforms, front-end and networks of a run as one graph, from strain to probability."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.objectives import output_names
from experiments.predictor import Predictor
from runtime.errors import UserError
from spectrograms.convolved import with_convolved_front_ends


class ExportedGraph(nn.Module):
    """What a run says of strain, without any code of this project at run time.

    The folds' networks share the transforms. Fourier transforms in front-ends are convolutions
    here; see `spectrograms.convolved`.

    Args:
        predictor: of the run, on the CPU, without test-time views.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        if not predictor.outputs.is_plain:
            raise UserError(
                f"{predictor.config.__name__} predicts {', '.join(output_names(predictor.outputs))}"
                f", and a graph holds one logit a fold: use --format safetensors, or export a run "
                f"without side targets"
            )
        self.transform = predictor.preparation.transform
        self.second = predictor.preparation.second
        factor = predictor.norm_factor
        self.register_buffer("factor", None if factor is None else torch.tensor(factor)[:, None])
        self.networks = nn.ModuleList(
            with_convolved_front_ends(network) for network in predictor.networks
        )
        self.hook = predictor.hook

    def forward(self, strain: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, folds) and the probability (B,) of strain (B, detector, time).

        The probability is the mean over the folds.
        """
        if self.factor is not None:
            strain = strain / self.factor
        batch = {"waveform": self.transform(strain)}
        if self.second is not None:
            batch["waveform2"] = self.second(strain)
        logits = torch.cat(
            [self.hook.forward_test(network, batch).float() for network in self.networks], dim=1
        )  # folds x (B, 1) -> (B, folds)
        return logits, logits.sigmoid().mean(1)
