"""Transforms, front-end and networks of a run as one graph: from strain to what it predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.predictor import Predictor
from experiments.targets import ClassTarget, Outputs, RegressionTarget
from spectrograms.convolved import with_convolved_front_ends


class ExportedGraph(nn.Module):
    """What a run says of strain, without any code of this project at run time.

    The folds' networks share the transforms. Fourier transforms in front-ends are convolutions
    here; see `spectrograms.convolved`.

    Args:
        predictor: of the run, on the CPU, without test-time views.

    Attributes:
        output_names: of what `forward` returns.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.transform = predictor.preparation.transform
        self.second = predictor.preparation.second
        factor = predictor.norm_factor
        self.register_buffer("factor", None if factor is None else torch.tensor(factor)[:, None])
        self.networks = nn.ModuleList(
            with_convolved_front_ends(network) for network in predictor.networks
        )
        self.hook, self.outputs = predictor.hook, predictor.outputs
        self.output_names = graph_output_names(self.outputs)

    def forward(self, strain: Tensor) -> tuple[Tensor, ...]:
        """Return what the folds say of strain (B, detector, time), and their mean.

        A run with one logit: logits (B, folds) and the probability (B,). Any other: what the
        networks put out, (B, folds, K + S); its values (B, K + S), probabilities or numbers in the
        units of the table; and, where an output is one of a signal, the probability (B,).
        """
        if self.factor is not None:
            strain = strain / self.factor
        batch = {"waveform": self.transform(strain)}
        if self.second is not None:
            batch["waveform2"] = self.second(strain)
        found = [self.hook.forward_test(network, batch).float() for network in self.networks]
        if self.outputs.is_plain:
            logits = torch.cat(found, dim=1)  # folds x (B, 1) -> (B, folds)
            return logits, logits.sigmoid().mean(1)
        outputs = torch.stack(found, dim=1)  # folds x (B, K + S) -> (B, folds, K + S)
        values = values_of_outputs(outputs, self.outputs).mean(1)  # (B, K + S)
        signal = self.outputs.target.signal
        return (outputs, values) if signal is None else (outputs, values, values[:, signal])


def graph_output_names(outputs: Outputs) -> tuple[str, ...]:
    """Return the names of what the graph of a run returns."""
    if outputs.is_plain:
        return ("logits", "probability")
    named = ("logits", "values")
    return named if outputs.target.signal is None else (*named, "probability")


def values_of_outputs(found: Tensor, outputs: Outputs) -> Tensor:
    """Return the probabilities or numbers (..., K + S) of what networks put out.

    As `OutputScores.of_folds`, in operations that a graph holds.
    """
    target = outputs.target
    main = found[..., : outputs.count]
    if isinstance(target, RegressionTarget):
        columns = [quantity.decode(main[..., i]) for i, quantity in enumerate(target.quantities)]
        values = torch.stack(columns, dim=-1)
    else:
        values = main.softmax(-1) if isinstance(target, ClassTarget) else main.sigmoid()
    sides = [
        side.quantity.decode(found[..., outputs.count + number])[..., None]  # (...) -> (..., 1)
        for number, side in enumerate(outputs.sides)
    ]
    return torch.cat([values, *sides], dim=-1)
