"""Losses on logits, with label smoothing, and on numbers.

A loss is called with (outputs, targets) and returns a scalar. Its `kinds` say which targets it is
for, as in metrics.py: 'binary', 'labels', 'classes' or 'numbers'; a class without it is taken for
any.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runtime.errors import UserError

MOST_RANKED = 4096  # rows compared pair by pair: 4096² float32 differences are 64 MiB


def smooth_targets(targets: Tensor, smoothing: float) -> Tensor:
    """Return the targets t as t·(1 − ε) + ε/2: 1 becomes 1 − ε/2 and 0 becomes ε/2.

    Reference: Szegedy et al. 2016, arXiv:1512.00567, section 7, for two classes.
    """
    return targets * (1.0 - smoothing) + 0.5 * smoothing


def elementwise_bce(
    logits: Tensor, targets: Tensor, smoothing: float, pos_weight: Tensor | None = None
) -> Tensor:
    """Return the binary cross-entropy of every element, in float32.

    Args:
        logits: (B, K) or (B,) of any floating type; half precision is converted to float32.
        targets: as many values from 0 to 1 as there are logits, (B,) or (B, K).
        smoothing: ε from 0 to 1.
        pos_weight: what the term of target 1 is multiplied by, (1,) or (K,); None for 1.

    Raises:
        UserError: the numbers of logits and of targets differ.
    """
    if logits.numel() != targets.numel():
        raise UserError(
            f"the loss got logits of shape {tuple(logits.shape)} and targets of shape "
            f"{tuple(targets.shape)}: give one target for each logit"
        )
    # (B,) -> (B, 1), or the loss would silently broadcast to (B, B)
    targets = targets.reshape(logits.shape).float()
    targets = smooth_targets(targets, smoothing)
    return F.binary_cross_entropy_with_logits(
        logits.float(), targets, reduction="none", pos_weight=pos_weight
    )


def mean_over_rows(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of the rows' losses, each multiplied by its weight.

    It is divided by the number of rows and not by the sum of the weights, so that batches can be
    averaged: weights of mean 1 leave the size of the loss as it is.

    Args:
        losses: (B, K) or (B,).
        weights: a number for each row; None weighs all rows alike.
    """
    if weights is None:
        return losses.mean()
    # (B,) or (B, 1) -> (B,) or (B, 1), to multiply rows of (B,) or (B, K)
    return (losses * weights.reshape(-1, *[1] * (losses.ndim - 1))).mean()


def check_smoothing(smoothing: float) -> float:
    if not 0.0 <= smoothing < 1.0:
        raise UserError(f"smoothing = {smoothing!r}: expected a number from 0 to below 1")
    return float(smoothing)


def as_weights(name: str, weights: float | Sequence[float] | None) -> Tensor | None:
    """Return weights as a tensor (K,) float32, or (1,) of a single number; None for none.

    Args:
        name: of the argument, for messages.

    Raises:
        UserError: one is not positive.
    """
    if weights is None:
        return None
    values = weights if isinstance(weights, list | tuple) else [weights]
    if not values or not all(isinstance(value, int | float) and value > 0 for value in values):
        raise UserError(f"{name} = {weights!r}: expected a positive number, or one for each output")
    return torch.tensor(values, dtype=torch.float32)


def check_weights(name: str, weights: Tensor | None, logits: Tensor) -> None:
    """Refuse weights (K,) of another number of outputs than logits (B, K) have.

    Raises:
        UserError: there are more than one, and not as many as outputs.
    """
    outputs = logits.shape[1] if logits.ndim > 1 else 1
    if weights is not None and len(weights) not in (1, outputs):
        raise UserError(
            f"{name} holds {len(weights)} numbers and the network has {outputs} outputs: give one, "
            f"or one for each output"
        )


class BCEWithLogitsLoss(nn.Module):
    """Mean binary cross-entropy on logits with label smoothing.

    Args:
        smoothing: ε; the target becomes t·(1 − ε) + ε/2.
        pos_weight: what the term of target 1 is multiplied by, one number or one for each label,
            e.g. noise samples / signals; None for 1.

    Raises:
        UserError: a smoothing outside [0, 1), or a weight that is not positive; when called, as
            many weights as there are outputs are expected.
    """

    kinds = ("binary", "labels")

    def __init__(
        self, smoothing: float = 0.0, pos_weight: float | Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.smoothing = check_smoothing(smoothing)
        # Not persistent: the weights stand in the config, and no checkpoint holds the loss.
        weights = as_weights("BCEWithLogitsLoss: pos_weight", pos_weight)
        self.register_buffer("pos_weight", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return a scalar for logits (B, K) or (B,), as many targets and, if any, row weights."""
        check_weights("BCEWithLogitsLoss: pos_weight", self.pos_weight, logits)
        positive = None if self.pos_weight is None else self.pos_weight.to(logits.device)
        return mean_over_rows(elementwise_bce(logits, targets, self.smoothing, positive), weights)

    def extra_repr(self) -> str:
        return f"smoothing={self.smoothing}"


class RankLoss(nn.Module):
    """A smooth surrogate of 1 - AUC, mixed with the binary cross-entropy.

    (1 - rank) · cross-entropy + rank · the mean over pairs of softplus(-(s_i - s_j) / scale), where
    i is a positive and j a negative of the batch. A pair has the weight t_i (1 - t_j), which also
    defines it for soft targets. For hard targets the mean over pairs is the logistic surrogate of
    Gao and Zhou 2015 (IJCAI, 939), which is consistent with AUC. The cross-entropy fixes the zero
    point of the logits, which ranks alone leave free.

    Args:
        rank: weight of the pairs, from 0 to 1.
        scale: unit of the differences of logits; towards 0 the pairs are counted as in 1 - AUC.

    Raises:
        UserError: a scale that is not positive or a weight outside [0, 1].
    """

    kinds = ("binary",)

    def __init__(self, rank: float = 0.9, scale: float = 1.0) -> None:
        super().__init__()
        if not scale > 0:
            raise UserError(f"RankLoss: scale = {scale!r}: expected a positive number")
        if not 0 <= rank <= 1:
            raise UserError(f"RankLoss: rank = {rank!r}: expected a weight from 0 to 1")
        self.rank, self.scale = float(rank), float(scale)

    @property
    def is_mean_over_rows(self) -> bool:
        """Whether parts of a batch may be averaged; the trainer asks. Pairs span the parts."""
        return self.rank == 0

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return a scalar for logits (B, 1) or (B,), as many targets and, if any, weights.

        Of more than `MOST_RANKED` rows, as in validation, only evenly spaced ones are compared. A
        pair counts as much as the product of its rows' weights.
        """
        cross_entropy = mean_over_rows(elementwise_bce(logits, targets, 0.0), weights)
        if self.rank == 0:
            return cross_entropy
        # rounded up, so that no more than MOST_RANKED rows are left
        step = -(-logits.numel() // MOST_RANKED)
        scores = logits.float().flatten()[::step]  # (B,)
        labels = targets.float().flatten()[::step]
        weight = labels[:, None] * (1 - labels)  # (B, B): positive i, negative j
        if weights is not None:
            of_rows = weights.float().flatten()[::step]  # (B,)
            weight = weight * of_rows[:, None] * of_rows
        # (B, B): s_j - s_i in row i, the negative argument of the formula
        wrong = F.softplus((scores - scores[:, None]) / self.scale)
        # A batch of one class has no pairs, and the sum over them is 0.
        pairs = (weight * wrong).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
        return (1 - self.rank) * cross_entropy + self.rank * pairs

    def extra_repr(self) -> str:
        return f"rank={self.rank}, scale={self.scale}"


class FocalLoss(nn.Module):
    """Mean focal loss α·(1 − e^(−b))^γ·b, b the binary cross-entropy of an element.

    For hard targets e^(−b) is the probability of the true class, so this is the loss of Lin et al.
    2017, arXiv:1708.02002, equation 5, with one α for both classes.

    Args:
        alpha: α, a factor on the whole loss.
        gamma: γ, how much less well-classified samples weigh; 0 gives the cross-entropy.
        smoothing: ε as in `BCEWithLogitsLoss`.

    Raises:
        UserError: a negative gamma or a smoothing outside [0, 1).
    """

    kinds = ("binary", "labels")

    def __init__(self, alpha: float = 1.0, gamma: float = 2.0, smoothing: float = 0.0) -> None:
        super().__init__()
        if gamma < 0:
            raise UserError(f"gamma = {gamma!r}: expected a number of at least 0")
        self.alpha = float(alpha)
        self.gamma = float(gamma)
        self.smoothing = check_smoothing(smoothing)

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return a scalar for logits (B, K) or (B,), as many targets and, if any, row weights."""
        loss = elementwise_bce(logits, targets, self.smoothing)
        # 1 − e^(−b) by expm1, which keeps the digits of a small b. The lower bound keeps the
        # gradient of the power finite at 0 for gamma below 1.
        wrong = -torch.expm1(-loss)
        weight = wrong.clamp_min(torch.finfo(wrong.dtype).eps).pow(self.gamma)
        return mean_over_rows(self.alpha * weight * loss, weights)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, smoothing={self.smoothing}"


class PartialAUCLoss(nn.Module):
    """A smooth surrogate of 1 - partial AUC: signals against the loudest noise alone.

    (1 - rank) · cross-entropy + rank · the mean of softplus(-(s_i - s_j) / scale) over all signals
    i of the batch and the noise samples j among its loudest share max_fpr, at least one: the noise
    that counts for the ROC curve left of max_fpr (Narasimhan and Agarwal 2013, KDD, 167, with the
    logistic in the place of the hinge). It takes hard targets; soft ones are rounded.

    Args:
        max_fpr: share of the noise that counts, above 0 and at most 1.
        rank: weight of the pairs, from 0 to 1.
        scale: unit of the differences of logits.

    Raises:
        UserError: a number out of its range.
    """

    kinds = ("binary",)

    def __init__(self, max_fpr: float = 0.1, rank: float = 0.9, scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < max_fpr <= 1:
            raise UserError(f"PartialAUCLoss: max_fpr = {max_fpr!r}: expected above 0, at most 1")
        if not 0 <= rank <= 1:
            raise UserError(f"PartialAUCLoss: rank = {rank!r}: expected a weight from 0 to 1")
        if not scale > 0:
            raise UserError(f"PartialAUCLoss: scale = {scale!r}: expected a positive number")
        self.max_fpr, self.rank, self.scale = float(max_fpr), float(rank), float(scale)

    @property
    def is_mean_over_rows(self) -> bool:
        """Whether parts of a batch may be averaged; the trainer asks. Pairs span the parts."""
        return self.rank == 0

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return a scalar for logits (B, 1) or (B,) and as many targets.

        Of more than `MOST_RANKED` rows, as in validation, only evenly spaced ones are compared.
        """
        cross_entropy = elementwise_bce(logits, targets, 0.0).mean()
        step = -(-logits.numel() // MOST_RANKED)
        scores = logits.float().flatten()[::step]  # (B,)
        labels = targets.flatten()[::step] >= 0.5
        if self.rank == 0:
            return cross_entropy
        # How many rows are noise is known to the device alone, which the host must not wait for.
        # So as many are taken as there could be, and those beyond the share weigh nothing.
        most = max(round(self.max_fpr * len(scores)), 1)
        loudest, rows = torch.where(labels, -torch.inf, scores).topk(most)
        count = (self.max_fpr * (~labels).sum().double()).round().clamp_min(1)
        counts = (torch.arange(most, device=scores.device) < count) & ~labels[rows]  # (most,)
        weight = labels[:, None] & counts  # (B, most)
        # (B, 1) against (most,) -> (B, most); what weighs nothing may be infinite
        wrong = torch.where(weight, (loudest - scores[:, None]) / self.scale, 0.0)
        # A batch of one class has no pairs, and the sum over them is 0.
        pairs = (F.softplus(wrong) * weight).sum() / weight.sum().clamp_min(1)
        return (1 - self.rank) * cross_entropy + self.rank * pairs

    def extra_repr(self) -> str:
        return f"max_fpr={self.max_fpr}, rank={self.rank}, scale={self.scale}"


class CrossEntropyLoss(nn.Module):
    """Mean cross-entropy of several classes, -sum_c w_c t_c log softmax(x)_c.

    Args:
        smoothing: ε; the target becomes t·(1 − ε) + ε/K for K classes.
        weights: w_c, one number for each class; None for 1. The mean is over rows, not over the
            weights of their classes, so that parts of a batch may be averaged.

    Raises:
        UserError: a smoothing outside [0, 1), or a weight that is not positive; when called,
            shapes that do not fit.
    """

    kinds = ("classes",)

    def __init__(self, smoothing: float = 0.0, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.smoothing = check_smoothing(smoothing)
        tensor = as_weights("CrossEntropyLoss: weights", weights)
        self.register_buffer("weights", tensor, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return a scalar for logits (B, K), probabilities of the classes, and row weights."""
        check_same_shape(logits, targets)
        check_weights("CrossEntropyLoss: weights", self.weights, logits)
        targets = targets.float() * (1 - self.smoothing) + self.smoothing / logits.shape[1]
        if self.weights is not None:
            targets = targets * self.weights.to(logits.device)
        return mean_over_rows(-(targets * F.log_softmax(logits.float(), dim=1)).sum(1), weights)

    def extra_repr(self) -> str:
        return f"smoothing={self.smoothing}"


def check_same_shape(outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets of another shape than the outputs of the network.

    Raises:
        UserError: they differ.
    """
    if outputs.shape != targets.shape:
        raise UserError(
            f"the loss got outputs of shape {tuple(outputs.shape)} and targets of shape "
            f"{tuple(targets.shape)}: give the network as many outputs as there are targets"
        )


class SmoothL1Loss(nn.Module):
    """Mean over rows and columns of d^2 / (2 beta) for |d| < beta and |d| - beta / 2 beyond.

    Reference: Huber 1964, Annals of Mathematical Statistics 35, 73.

    Args:
        beta: where it turns from quadratic to linear, in the units of the outputs.

    Raises:
        UserError: a beta that is not positive; when called, shapes that do not fit.
    """

    kinds = ("numbers",)

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if not beta > 0:
            raise UserError(f"SmoothL1Loss: beta = {beta!r}: expected a positive number")
        self.beta = float(beta)

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return a scalar for outputs and targets (B, K) and, if any, row weights."""
        check_same_shape(outputs, targets)
        given, wanted = outputs.float(), targets.float()
        losses = F.smooth_l1_loss(given, wanted, beta=self.beta, reduction="none")
        return mean_over_rows(losses, weights)

    def extra_repr(self) -> str:
        return f"beta={self.beta}"


class SquaredLoss(nn.Module):
    """Mean of (output - target)^2 over rows and columns; UserError for shapes that do not fit."""

    kinds = ("numbers",)

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return a scalar for outputs and targets (B, K) and, if any, row weights."""
        check_same_shape(outputs, targets)
        return mean_over_rows((outputs.float() - targets.float()) ** 2, weights)
