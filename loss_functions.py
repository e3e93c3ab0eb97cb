"""Losses on logits, with label smoothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils import UserError


def smooth_targets(targets: Tensor, smoothing: float) -> Tensor:
    """Return t·(1 − ε) + ε/2, so that 1 becomes 1 − ε/2 and 0 becomes ε/2.

    Reference: Szegedy et al. 2016, arXiv:1512.00567, section 7, for two classes.
    """
    return targets * (1.0 - smoothing) + 0.5 * smoothing


def elementwise_bce(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the binary cross-entropy of every element, in float32.

    Args:
        logits: (B, 1) or (B,), any floating type; half precision is widened first.
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
    # (B,) -> (B, 1): without it a broadcast to (B, B) would go unseen
    targets = targets.reshape(logits.shape).float()
    targets = smooth_targets(targets, smoothing)
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")


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

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return a scalar for logits (B, 1) or (B,) and as many targets."""
        return elementwise_bce(logits, targets, self.smoothing).mean()

    def extra_repr(self) -> str:
        return f"smoothing={self.smoothing}"


class FocalLoss(nn.Module):
    """Mean focal loss α·(1 − e^(−b))^γ·b, b the binary cross-entropy of an element.

    For hard targets e^(−b) is the probability given to the true class, which makes this the loss
    of Lin et al. 2017, arXiv:1708.02002, equation 5, with one α for both classes.

    Args:
        alpha: α, a factor on the whole loss.
        gamma: γ, how much less the well-classified count; 0 gives cross-entropy.
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

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return a scalar for logits (B, 1) or (B,) and as many targets."""
        loss = elementwise_bce(logits, targets, self.smoothing)
        # expm1 keeps the digits of a small loss; the floor keeps the power's gradient finite at 0
        # for gamma below 1.
        wrong = -torch.expm1(-loss)
        weight = wrong.clamp_min(torch.finfo(wrong.dtype).eps).pow(self.gamma)
        return (self.alpha * weight * loss).mean()

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, gamma={self.gamma}, smoothing={self.smoothing}"
