"""Losses on logits, with label smoothing."""

from __future__ import annotations

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


def elementwise_bce(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the binary cross-entropy of every element, in float32.

    Args:
        logits: (B, 1) or (B,) of any floating type; half precision is converted to float32.
        targets: as many values from 0 to 1 as there are logits, (B,) or (B, 1).
        smoothing: ε from 0 to 1.

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
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")


def mean_over_rows(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of the rows' losses, each multiplied by its weight.

    It is divided by the number of rows and not by the sum of the weights, so that batches can be
    averaged: weights of mean 1 leave the size of the loss as it is.

    Args:
        losses: (B, 1) or (B,).
        weights: as many numbers; None weighs all rows alike.
    """
    return (losses if weights is None else losses * weights.reshape(losses.shape)).mean()


def check_smoothing(smoothing: float) -> float:
    if not 0.0 <= smoothing < 1.0:
        raise UserError(f"smoothing = {smoothing!r}: expected a number from 0 to below 1")
    return float(smoothing)


class BCEWithLogitsLoss(nn.Module):
    """Mean binary cross-entropy on logits with label smoothing.

    Args:
        smoothing: ε; the target becomes t·(1 − ε) + ε/2.

    Raises:
        UserError: a smoothing outside [0, 1).
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = check_smoothing(smoothing)

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return a scalar for logits (B, 1) or (B,), as many targets and, if any, weights."""
        return mean_over_rows(elementwise_bce(logits, targets, self.smoothing), weights)

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

    def __init__(self, alpha: float = 1.0, gamma: float = 2.0, smoothing: float = 0.0) -> None:
        super().__init__()
        if gamma < 0:
            raise UserError(f"gamma = {gamma!r}: expected a number of at least 0")
        self.alpha = float(alpha)
        self.gamma = float(gamma)
        self.smoothing = check_smoothing(smoothing)

    def forward(self, logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return a scalar for logits (B, 1) or (B,), as many targets and, if any, weights."""
        loss = elementwise_bce(logits, targets, self.smoothing)
        # 1 − e^(−b) by expm1, which keeps the digits of a small b. The lower bound keeps the
        # gradient of the power finite at 0 for gamma below 1.
        wrong = -torch.expm1(-loss)
        weight = wrong.clamp_min(torch.finfo(wrong.dtype).eps).pow(self.gamma)
        return mean_over_rows(self.alpha * weight * loss, weights)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, smoothing={self.smoothing}"
