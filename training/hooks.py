"""Hooks: how a batch becomes logits and a loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from datasets import Batch
from layers.mixing import mix_rows
from runtime.errors import UserError
from training.batch_preparation import OnWaveforms

Criterion = Callable[[Tensor, Tensor], Tensor]


def weighted_loss(
    criterion: Criterion, logits: Tensor, target: Tensor, weight: Tensor | None
) -> Tensor:
    """Return the loss (a scalar) of a batch, its rows weighted where it has weights.

    Args:
        criterion: takes `weights` as a third argument, where the batch has any.
        logits, target: (B, 1) each.
        weight: (B, 1), the batch's field `weight`; None where it has none.
    """
    if weight is None:
        return criterion(logits.float(), target)
    return criterion(logits.float(), target, weight)


class TrainHook:
    """The usual hook: logits of the waveform, the criterion against the target."""

    uses_weights = True  # its loss is weighted by the field `weight`, where a batch has one

    def forward_train(
        self, model: nn.Module, batch: Batch, criterion: Criterion
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return loss, logits (B, 1), and the target to score them by (None: do not score)."""
        logits = model(*self.inputs(batch))
        if not torch.is_tensor(logits):
            raise UserError(
                "the network returned more than logits: return_spec is for looking at images, not "
                "for training"
            )
        loss = weighted_loss(criterion, logits, batch["target"], batch.get("weight"))
        return loss, logits, batch["target"]

    def forward_test(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(*self.inputs(batch))

    @staticmethod
    def inputs(batch: Batch) -> tuple[Tensor, ...]:
        """The waveform, and the second view of it where the experiment makes one."""
        if "waveform2" in batch:
            return batch["waveform"], batch["waveform2"]
        return (batch["waveform"],)


class MixupTrain(TrainHook):
    """Mixes each row with another of its batch (Zhang et al. 2018, arXiv:1710.09412).

    The mixing ratio λ ~ Beta(alpha, alpha) is drawn for each row. Where the mixing happens
    (image, or features with manifold mixup) is the model's own setting; with
    `level='waveform'` it is done here, before the model.

    Args:
        alpha: of the Beta distribution; the smaller it is, the closer λ is to 0 or 1.
        hard_label: False, or the threshold above which a mixed target counts as 1.
        lor_label: the target is t + t' - t t', the logical or of the two, instead of the mixture.
        level: 'model' or 'waveform'.
        evaluate_in_batch: also score the training logits, against the mixed targets, rounded.

    The partner comes from the same batch of the same process, also under torchrun and with
    `accumulate`: the smaller the batches, the fewer partners a row can have.
    """

    mixes_rows = True  # the trainer says so where a step has several batches
    uses_weights = True

    def __init__(
        self,
        alpha: float = 0.4,
        hard_label: bool | float = False,
        lor_label: bool = False,
        level: str = "model",
        evaluate_in_batch: bool = False,
    ) -> None:
        if alpha <= 0:
            raise UserError(f"MixupTrain: alpha = {alpha}: expected a positive number")
        if hard_label is True:
            raise UserError("MixupTrain: hard_label = True: expected False or a threshold, say 0.5")
        if level not in ("model", "waveform"):
            raise UserError(f"MixupTrain: level = {level!r}: expected 'model' or 'waveform'")
        self.alpha, self.hard_label, self.lor_label = alpha, hard_label, lor_label
        self.level, self.evaluate_in_batch = level, evaluate_in_batch

    def partners(self, target: Tensor) -> Tensor:
        """Return the row (B,) that each row is mixed with."""
        return torch.randperm(len(target), device=target.device)

    def mix_targets(self, target: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        """Return the mixed targets (B, 1); `lam` is the share of the row itself."""
        other = target[partner]
        if self.lor_label:
            return target + other - target * other
        lam = lam.view(-1, *[1] * (target.ndim - 1)).to(target.dtype)  # (B,) -> (B, 1)
        mixed = lam * target + (1 - lam) * other
        return mixed if self.hard_label is False else (mixed > self.hard_label).to(target.dtype)

    def forward_train(
        self, model: nn.Module, batch: Batch, criterion: Criterion
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        target = batch["target"]
        partner = self.partners(target)
        lam = draw_beta(self.alpha, len(target), target.device)
        if self.level == "waveform":
            batch = OnWaveforms(lambda x: mix_rows(x, lam, partner))(batch)
            logits = model(*self.inputs(batch))
        else:
            # A model may change λ (cutmix: the share of the area), so it returns the one it used.
            logits, lam = model(*self.inputs(batch), lam=lam, idx=partner)
        mixed = self.mix_targets(target, partner, lam)
        scored = mixed if self.evaluate_in_batch else None
        weight = batch.get("weight")
        if weight is not None:
            share = lam.view(-1, 1).to(weight.dtype)  # (B,) -> (B, 1)
            weight = share * weight + (1 - share) * weight[partner]
        return weighted_loss(criterion, logits, mixed, weight), logits, scored


class MixupTrain2(MixupTrain):
    """Mixes positives with positives and negatives with negatives: targets stay as they are.

    Rows with a soft target, and classes switched off, are left unmixed.

    Args:
        pos_pos: mix signals with signals.
        neg_neg: mix noise with noise.
    """

    def __init__(
        self,
        alpha: float = 0.4,
        pos_pos: bool = True,
        neg_neg: bool = True,
        level: str = "model",
        evaluate_in_batch: bool = False,
    ) -> None:
        super().__init__(alpha, level=level, evaluate_in_batch=evaluate_in_batch)
        self.pos_pos, self.neg_neg = pos_pos, neg_neg

    def partners(self, target: Tensor) -> Tensor:
        flat = target.flatten()  # (B, 1) -> (B,)
        # The rows of each class in their order, and the same rows in a random order. Sorting asks
        # nothing of the device, as the numbers of rows would.
        in_order = flat.argsort(stable=True)
        shuffled = torch.randperm(len(flat), device=flat.device)
        shuffled = shuffled[flat[shuffled].argsort(stable=True)]
        # The n-th row of a class is mixed with the n-th of its random order.
        partner = shuffled[in_order.argsort()]
        mixed = (flat == 1) & self.pos_pos | (flat == 0) & self.neg_neg
        return torch.where(mixed, partner, torch.arange(len(flat), device=flat.device))

    def mix_targets(self, target: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
        return target


def draw_beta(alpha: float, n: int, device: torch.device) -> Tensor:
    """Return n draws (n,) from Beta(alpha, alpha), from torch's own generator of the device."""
    gamma = torch._standard_gamma(torch.full((2, n), float(alpha), device=device))
    # Both draws of a small alpha can underflow; the tiny addition makes that an even mixture.
    gamma = gamma + torch.finfo(gamma.dtype).tiny
    return gamma[0] / gamma.sum(0)
