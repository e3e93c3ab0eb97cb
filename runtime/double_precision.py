"""Run code that was written for float32 in float64, to see what rounding does to its result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def widen(value: Any) -> Any:
    """Return a float32 or complex64 tensor, or one of these types, in double precision."""
    if isinstance(value, torch.dtype):
        return WIDER.get(value, value)
    if isinstance(value, torch.Tensor) and value.dtype in WIDER:
        return value.to(WIDER[value.dtype])
    return value


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Let every operation of torch work in float64 where float32 was meant; without gradients.

    Weights and constants keep the values that they have in float32, and everything that is computed
    from them is double, a cast to float32 too. What is written to stays of its own type, and half
    precision stays as it is.

    Operators that code makes at first use and keeps would be kept in double precision: let it run
    once before.
    """
    # Without gradients torch gives convolutions to the mode whole; with them it first compares the
    # types of input and weights.
    with torch.inference_mode(), WideningMode():
        yield


class WideningMode(TorchDispatchMode):
    """Widens what operations are given, the types that they are asked for, and what they return."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        arguments = func._schema.arguments
        # What is written to, or viewed: a view must stay one. It is widened where it is used.
        shared = {a.name for a in arguments if a.alias_info}

        def widened(name: str, value: Any) -> Any:
            is_kept = name in shared and isinstance(value, torch.Tensor)
            return value if is_kept else tree_map(widen, value)

        found = func(
            *(widened(a.name, value) for a, value in zip(arguments, args, strict=False)),
            **{name: widened(name, value) for name, value in (kwargs or {}).items()},
        )
        return found if shared else tree_map(widen, found)
