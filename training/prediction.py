"""The forward pass over a whole data set: logits in its own order, averaged over views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from datasets import Batch
from runtime import interruption
from runtime.interruption import Interrupted
from training import distributed
from training.prediction_views import View, distinct_views, prepare_views


@torch.inference_mode()
def forward_rows(
    model: nn.Module,
    batches: Iterable[Batch],
    forward: Callable[[nn.Module, Batch], Tensor],
    move: Callable[[Batch], Batch],
    transforms: Callable[[Batch], Batch],
    views: Sequence[View],
    ignores_sign: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return logits and targets of a data set, (n, K) float32 each, on the CPU, in its own order.

    With several processes each forwards its own rows and all get all of them; they cannot stop in
    between.

    Args:
        model: set to evaluation.
        batches: of a loader without shuffling, as they are read.
        forward: (model, prepared batch) -> logits (B, K).
        move: moves a batch to the device, once for all views.
        transforms: a batch -> batch there.
        views: the logits are averaged over them; see `prepare_views`.
        ignores_sign: whether `forward` gives the same for waveforms of either sign, bit for bit:
            where the transforms are odd, views that differ by the sign are then forwarded once.

    Raises:
        Interrupted: a signal asked to stop.
    """
    model.eval()
    sign_is_ignored = ignores_sign and getattr(transforms, "is_odd", False)
    distinct, places = distinct_views(views, sign_is_ignored)
    # Of no batch: there may be more processes than rows. torch joins (0,) with rows of any width.
    logits, targets = [torch.empty(0)], [torch.empty(0)]
    indices = [torch.empty(0, dtype=torch.long)]
    for batch in batches:
        if interruption.requested() and distributed.world_size() == 1:
            raise Interrupted
        batch = move(batch)
        prepared = prepare_views(distinct, batch, transforms)
        of_views = [forward(model, view).float() for view in prepared]
        # (views, B, K) -> (B, K)
        logits.append(torch.stack([of_views[place] for place in places]).mean(0))
        targets.append(batch["target"])
        indices.append(batch["index"])
    if len(logits) > 1:
        logits, targets, indices = logits[1:], targets[1:], indices[1:]
    # Evaluation gives each process a contiguous part of the rows, so that sorting restores all.
    all_logits, all_targets, index = distributed.gather_rows(
        torch.cat(logits), torch.cat(targets), torch.cat(indices)
    )
    if not len(index):  # of no process: (0,) -> (0, 1)
        all_logits, all_targets = all_logits[:, None], all_targets[:, None]
    order = index.argsort()
    return all_logits[order], all_targets[order]
