"""How much faster does a bank of matched filters train than its formula written plainly?

Both sides are the same network on the same whitened noise: forward, loss, backward. The other side
filters by a convolution, forms a term for each delay in a loop, and lets torch differentiate. The
filters are random: what they cost does not depend on what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, check_agreement, interleave, paired_ratios
from benchmarks.models1d.plain_matched_filter import plain_logits
from models1d.matched_filter1d import MatchedFilter1d
from physics.observation import Observation
from runtime.command_line import run_command
from runtime.machine import keep_freed_memory

TARGETS = {"cpu": 3.0}
# By kind of device, from the CPU time of each part on one thread.
REASONS = {
    "cpu": "half of the time are the terms of the pair's delays, which are formed twice, a sixth "
    "the filters in float32, which nothing but a smaller type makes faster."
}
TOLERANCES = {None: 1e-4, torch.bfloat16: 5e-2}  # of gradients, sums over millions of terms
TWO = Observation(detectors=("H1", "L1"), min_frequency=15.0, curves="aLIGOZeroDetHighPower")
# By the name of the row: arguments of the network. That of Mdc3 has as many templates and
# components as it chooses, and a basis of about its size.
NETWORKS: dict[str, dict[str, Any]] = {
    "Wave07": {"stride": 2, "correlation": -0.6},
    "Wave06": {"stride": 2},
    "Mdc3, 40 templates of 5 components": {
        "stride": 2,
        "correlation": -0.6,
        "templates": 40,
        "basis": 160,
        "components": 5,
        "observation": TWO,
    },
}


def gradients(
    network: MatchedFilter1d,
    logits_of: Callable[[Tensor], Tensor],
    x: Tensor,
    dtype: torch.dtype | None,
) -> Callable[[], Tensor]:
    """Return a function that does both passes and returns all gradients, (number,)."""
    target = torch.arange(len(x), device=x.device)[:, None] % 2

    def step() -> Tensor:
        network.zero_grad()
        with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
            logits = logits_of(x)
        F.binary_cross_entropy_with_logits(logits.float(), target.float()).backward()
        # A bias may be without effect; then it has no gradient.
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    return step


def compare(
    settings: BenchmarkSettings, name: str, dtype: torch.dtype | None = None
) -> Measurement:
    torch.manual_seed(0)
    arguments = NETWORKS[name] | (
        {"templates": 6, "basis": 8, "stride": 16} if settings.quick else {}
    )
    network = MatchedFilter1d(**arguments).to(settings.device).train()
    batch = settings.choose(cpu=32, cuda=128, quick=2)
    x = torch.randn(batch, network.in_channels, network.samples, device=settings.device)
    sides = {
        "ours": gradients(network, network, x, dtype),
        "theirs": gradients(network, lambda strain: plain_logits(network, strain), x, dtype),
    }
    what = f"training step of {name}" + (" in bfloat16" if dtype is not None else "")
    difference = check_agreement(
        f"gradients of the {what}", sides["ours"](), sides["theirs"](), TOLERANCES[dtype]
    )
    rounds = settings.rounds(settings.choose(cpu=9, cuda=11, quick=2))
    times = interleave(sides, settings.device, rounds, settings.least_seconds)
    key = name.split(",")[0].lower() + ("_bf16" if dtype is not None else "")
    return Measurement(
        f"matched_filter.{key}",
        what,
        "its formula, torch's gradient",
        paired_ratios(times["theirs"], times["ours"]),
        "×",
        True,
        TARGETS,
        Spread.of(times["ours"]),
        Spread.of(times["theirs"]),
        settings={"batch": batch, "threads": torch.get_num_threads()},
        reason=REASONS.get(settings.device.type),
        extra={"rounds": rounds, "gradient_difference": difference},
    )


def measure(settings: BenchmarkSettings) -> Findings:
    if not settings.on_gpu:
        keep_freed_memory()  # as train.py does
    rows = [compare(settings, name) for name in NETWORKS]
    return Findings([*rows, compare(settings, "Wave07", torch.bfloat16)])


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("matched_filter", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
