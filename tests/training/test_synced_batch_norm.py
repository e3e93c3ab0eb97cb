"""Batch norm of the rows of two processes against torch's of all rows at once, in float64."""

from __future__ import annotations

import copy
import traceback

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from timm.layers import BatchNormAct2d
from torch import nn

from training.synced_batch_norm import share_statistics

ROWS = 7  # three of the first process, four of the second


def network(kind: str) -> nn.Module:
    torch.manual_seed(1)
    if kind == "1d":
        return nn.Sequential(nn.Conv1d(3, 4, 5), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 2, 3))
    if kind == "2d":
        return nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Conv2d(4, 2, 3))
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 4), nn.BatchNorm1d(4, affine=False))


def inputs(kind: str) -> torch.Tensor:
    shape = {"1d": (ROWS, 3, 20), "2d": (ROWS, 3, 8, 9), "flat": (ROWS, 3, 20)}[kind]
    # far from zero: the variance must not be a difference of squares
    return 30 + torch.randn(shape, generator=torch.Generator().manual_seed(2))


def run(model: nn.Module, x: torch.Tensor, rows: slice) -> dict[str, torch.Tensor]:
    """Return outputs, gradients and statistics after one training pass over some rows."""
    x = x[rows].clone().requires_grad_()
    output = model(x)
    (output**3).sum().backward()
    found = {"output": output, "input": x.grad}
    found |= {name: p.grad for name, p in model.named_parameters()}
    found |= {f"buffer {name}": b.clone() for name, b in model.named_buffers()}
    model.eval()
    return {name: value.detach() for name, value in found.items()} | {"eval": model(x).detach()}


def process(rank: int, kind: str, store: str, queue: mp.Queue) -> None:
    try:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
        model = network(kind)
        names = list(model.state_dict())
        share_statistics(model)
        assert list(model.state_dict()) == names
        found = run(copy.deepcopy(model), inputs(kind), (slice(0, 3), slice(3, ROWS))[rank])
        queue.put((rank, {name: value.numpy() for name, value in found.items()}))
        dist.barrier()
        dist.destroy_process_group()
    except Exception:
        queue.put((rank, traceback.format_exc()))
        raise


@pytest.mark.parametrize("kind", ["1d", "2d", "flat"])
def test_two_processes_are_one(kind, tmp_path) -> None:
    context = mp.get_context("fork")  # seconds faster: torch is imported
    queue = context.Queue()
    workers = [
        context.Process(target=process, args=(rank, kind, str(tmp_path / "store"), queue))
        for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    found = dict(queue.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
    assert all(isinstance(parts, dict) for parts in found.values()), found
    expected = run(network(kind).double(), inputs(kind).double(), slice(0, ROWS))
    for name, value in expected.items():
        parts = [torch.as_tensor(found[rank][name]) for rank in (0, 1)]
        if name in ("output", "input", "eval"):
            got = torch.cat(parts)
        elif name.startswith("buffer"):
            torch.testing.assert_close(*parts, rtol=0, atol=0)
            got = parts[0]
        else:  # DistributedDataParallel adds them up
            got = parts[0] + parts[1]
        # float32's rounding of inputs of 30, which leaves a bias before a batch norm a gradient
        scale = max(value.abs().max().item(), 1.0)
        off = (got.double() - value.double()).abs().max().item()
        assert off < 2e-4 * scale, name
