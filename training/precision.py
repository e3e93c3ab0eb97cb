"""Mixed precision and clipping: the type that is computed in, loss scaling, gradient limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import torch
from torch import nn

from runtime.errors import UserError
from training.gradient_record import GradientSize, gradient_norm, gradients_of, largest_gradient


def make_scaler(dtype: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler:
    """Return a loss scaler for fp16; on a GPU, for other types, one that only skips bad steps.

    It checks the gradients for infinity and NaN on the device, so that the host need not wait.
    """
    if dtype == torch.float16:
        return torch.amp.GradScaler(device.type)
    # Factors that the scaler accepts and that float32 rounds to one: the scale stays 1.
    only_check = {"init_scale": 1.0, "growth_factor": 1.0 + 1e-9, "backoff_factor": 1.0 - 1e-9}
    return torch.amp.GradScaler(
        device.type, enabled=device.type == "cuda", growth_interval=2**31 - 1, **only_check
    )


def choose_amp_dtype(amp: bool | str, device: torch.device) -> torch.dtype | None:
    """Return the type to compute in, None for float32.

    Raises:
        UserError: an unknown name, or fp16 on a CPU.
    """
    if amp is False:
        return None
    if amp is True:
        if device.type != "cuda":
            return None
        # GPUs before Ampere emulate bf16, which is slower there than float32.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if amp not in ("bf16", "fp16"):
        raise UserError(f"amp = {amp!r}: expected True, False, 'bf16' or 'fp16'")
    if amp == "fp16" and device.type == "cpu":
        raise UserError("amp = 'fp16' needs a GPU: use 'bf16' or False on a CPU")
    return torch.bfloat16 if amp == "bf16" else torch.float16


def autocast(dtype: torch.dtype | None, device: torch.device) -> contextlib.AbstractContextManager:
    """Return the context to compute in that type; None computes in float32."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def clip_gradients(
    parameters: Iterable[nn.Parameter],
    mode: str | None,
    limit: float,
    norm: torch.Tensor | None = None,
    may_read: bool = False,
) -> GradientSize:
    """Clip unscaled gradients elementwise ('value'), by their 2-norm ('norm') or adaptively.

    'agc' is adaptive gradient clipping (Brock et al. 2021, arXiv:2102.06171), timm's.

    Args:
        parameters: with gradients.
        mode: how to clip; None leaves them as they are.
        limit: of each value, of the norm, or of its ratio to the norm of the weights.
        norm: of all gradients, as `gradient_norm` returns it; computed if it is not given.
        may_read: whether the host may read the norm, which on a GPU makes it wait.

    Returns:
        How large they were before, and whether any was changed.
    """
    parameters = list(parameters)
    norm = gradient_norm(parameters) if norm is None else norm
    clipped = torch.zeros_like(norm, dtype=torch.bool)
    if mode == "norm":
        clipped = norm > limit
        # What torch's clip_grad_norm_ does, bit for bit, once it has computed the norm.
        if gradients := gradients_of(parameters):
            torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))
    # No value is larger than the norm.
    elif mode == "value" and not (may_read and bool(norm <= limit)):
        clipped = largest_gradient(parameters) > limit
        nn.utils.clip_grad_value_(parameters, limit)
    elif mode == "agc":
        from timm.utils import adaptive_clip_grad

        adaptive_clip_grad(parameters, limit, eps=1e-3)
        # It shrinks the gradients of single units, each by a limit of its own.
        clipped = gradient_norm(parameters) < norm
    return GradientSize(norm, clipped)


def check_clipping(mode: str | None, limit: float = 1.0) -> None:
    """Raise a `UserError` for an unknown way of clipping or a limit that is not positive."""
    if mode not in (None, "value", "norm", "agc"):
        raise UserError(f"clip_grad = {mode!r}: expected None, 'value', 'norm' or 'agc'")
    if mode is not None and not limit > 0:
        raise UserError(f"max_grad_norm = {limit}: expected a number above 0")


def are_finite(parameters: Iterable[nn.Parameter], norm: torch.Tensor) -> bool:
    """Whether no gradient is NaN or infinite.

    Args:
        parameters: with gradients.
        norm: of all gradients, as `gradient_norm` returns it.
    """
    # One transfer to the host for all of them: each `bool` of a GPU tensor waits for the device.
    # The squares of a norm may overflow where the gradients themselves are finite.
    return bool(norm.isfinite()) or bool(largest_gradient(parameters).isfinite())
