"""Several processes, as `torchrun` starts them; one process is the simplest case."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from runtime.errors import UserError
from runtime.locks import held, try_lock
from training.process_groups import keep_for_good
from training.synced_batch_norm import share_statistics


def start() -> None:
    """Join the process group where torchrun has set one up; otherwise do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        keep_for_good(dist.group.WORLD)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes files and the log."""
    return rank() == 0


def take_free_gpu() -> str:
    """Return the id of a GPU that no other process of this user has taken with this function.

    A lock on a file named after the GPU holds it until this process ends, however it ends.

    Raises:
        UserError: all are taken.
    """
    for index in range(torch.cuda.device_count()):
        # By its UUID: CUDA_VISIBLE_DEVICES gives the same index to different GPUs.
        uuid = torch.cuda.get_device_properties(index).uuid
        path = os.path.join(tempfile.gettempdir(), f"g2net-{os.getuid()}-gpu-{uuid}.lock")
        # O_NOFOLLOW: /tmp belongs to all users, and a link there could lead to any file.
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            try_lock(lock)
        except BlockingIOError:
            os.close(lock)
            continue
        held.add(lock)  # it stays open, in this process alone
        return str(index)
    raise UserError(
        f"--gpu free: other runs have taken all {torch.cuda.device_count()} GPUs: start fewer at "
        f"once (in a pipeline, --resources gpu=N)"
    )


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers of the first one, so that all score the same network.

    Each may have batch-norm statistics of its own rows; those of the first one are saved.
    """
    if dist.is_initialized():
        # Every process has the same buffers in the same order, or this would wait for ever.
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def wrap(model: nn.Module, device: torch.device, sync_batch_norm: bool) -> nn.Module:
    """Return the network such that the processes average their gradients; alone, as it is.

    Args:
        model: the network.
        device: where the network is.
        sync_batch_norm: change its batch norms, in place, to use the rows of all processes.
    """
    if world_size() == 1:
        return model
    if sync_batch_norm:
        share_statistics(model)
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=ids)


def any_of(wishes: Sequence[Any] | torch.Tensor, device: torch.device) -> list[bool]:
    """Return for each wish whether any process has it; all must ask at the same time.

    Args:
        wishes: what is true or false; or flags (n,) on the device, which are read once.
        device: where the processes exchange their wishes.
    """
    if not isinstance(wishes, torch.Tensor):
        if not dist.is_initialized():
            return [bool(wish) for wish in wishes]
        wishes = torch.tensor([bool(wish) for wish in wishes], device=device)
    # NCCL reduces tensors on the device only; the largest flag is 1 where any is.
    flags = wishes.float()
    if dist.is_initialized():
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return [flag > 0 for flag in flags.tolist()]


def gather_objects(value: Any) -> list[Any]:
    """Return every process's value, in the order of the ranks."""
    if not dist.is_initialized():
        return [value]
    # pickled objects, as the processes may hold different numbers of rows
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def gather_rows(*columns: torch.Tensor) -> list[torch.Tensor]:
    """Concatenate every process's rows of each column, in the order of the ranks, on the CPU.

    The processes may hold different numbers of rows; nothing is padded or repeated.
    """
    columns = tuple(column.detach().cpu() for column in columns)
    if not dist.is_initialized():
        return list(columns)  # without a copy
    return [torch.cat(rows) for rows in zip(*gather_objects(columns), strict=True)]
