"""What does an epoch of each experiment cost on an H200, on paper?

    python -m benchmarks.training.epoch_on_paper --out benchmarks/results  # those not recorded yet
    python -m benchmarks.training.epoch_on_paper Nspec16 Wave07    # these, printed

A training step of the trainer, from the batch of strain to the optimiser, runs on the CPU with a
few random samples, and every operation of torch in it is counted: its arithmetic, the bytes that
it reads and writes, and the call itself. Two sizes of the batch tell what grows with it, so that
the config's own batch follows on a straight line. Three bounds come out of it:

    arithmetic and memory   the sum over operations of the longer of the two, at the rates of the
                            card's data sheet
    launches                `SECONDS_A_CALL` for each operation: what the host needs to start it
    an epoch                the longer of both, times the steps of an epoch

A card reaches neither bound: kernels attain some half of either rate, and some operations are
fused. So a measured epoch between one and four times the bound is a healthy one, and one far above
it has a fault that is worth looking for. `python -m benchmarks.gpu_check` measures steps.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

import configs  # noqa: F401 - importing it registers the experiments
from benchmarks import RESULTS
from benchmarks.harness.measurements import (
    Measurement,
    format_duration,
    format_significant,
    markdown_table,
)
from benchmarks.harness.result_files import (
    FORMAT,
    list_records,
    load_results,
    locked_record,
    write_record,
)
from benchmarks.harness.timed_steps import random_experiment
from configuration.config_class import ConfigMeta, find_config
from configuration.overrides import override
from experiments.building import count_training_samples, draws_its_samples, observation_of
from experiments.experiment_list import decimation_of
from models1d import delay_averages
from runtime.command_line import CommandLine, run_command
from runtime.console import progress
from runtime.errors import UserError
from runtime.files import read_json
from training.trainer import Trainer

RECORD = "epoch_on_paper.json"
TRAINING_SAMPLES = 560_000  # of the competition, of which a fold trains on (cv - 1) / cv
# NVIDIA's data sheet of the H200 SXM, without sparsity: operations and bytes a second.
CARD = "H200 SXM"
HALF, TF32, VECTOR, MEMORY = 989.4e12, 494.7e12, 66.9e12, 4.8e12
SECONDS_A_CALL = 5e-6  # an operation of torch from Python, with its share of autograd
BATCHES = (2, 4)  # samples that are counted
TRANSFORMS = ("_fft_r2c", "_fft_c2r", "_fft_c2c")


@dataclass
class Work:
    """What some operations come to.

    Attributes:
        calls: how many operations there are, without views.
        operations: multiplications and additions.
        moved: bytes read and written.
        seconds: the sum of the longer of arithmetic and memory, on the card.
    """

    calls: float = 0.0
    operations: float = 0.0
    moved: float = 0.0
    seconds: float = 0.0

    def at_batch(self, other: Work, batch: int) -> Work:
        """Return the work of a batch, from this one's with `BATCHES[0]` and another with [1]."""
        low, high = BATCHES
        share = (batch - low) / (high - low)
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        # What does not grow may be counted a little smaller with the larger batch.
        return Work(*(max(one + share * (two - one), one) for one, two in pairs))


class CountedWork(TorchDispatchMode):
    """Counts every operation of torch while it is active, in forward and backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.is_view:
            return out
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        moved = sum(map(bytes_of, read)) + sum(map(bytes_of, made))
        operations, rate = count_operations(func, args, kwargs, out, made)
        work = self.work
        work.calls += 1
        work.operations += operations
        work.moved += moved
        work.seconds += max(operations / rate, moved / MEMORY)
        return out


def bytes_of(x: Tensor) -> int:
    """Return the bytes of memory that a tensor lies in: an expanded one is read once."""
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


def count_operations(
    func: Any, args: tuple, kwargs: dict, out: Any, made: Sequence[Tensor]
) -> tuple[float, float]:
    """Return the multiplications and additions of an operation, and the card's rate of them.

    Products of matrices and convolutions are counted by torch's own formulas, a multiplication and
    an addition as two. A Fourier transform
    of n numbers takes 5 n log2 n operations if they are complex and half as many if they are real.
    All others are counted as one for each number that they make.
    """
    name = func._schema.name.removeprefix("aten::")
    formula = flop_registry.get(func._overloadpacket)
    if formula is not None:
        rate = HALF if made and made[0].element_size() == 2 else TF32
        # Its formula of a convolution's backward pass does not know of groups.
        if name == "convolution_backward":
            return convolution_backward_operations(*args), rate
        return float(formula(*args, **kwargs, out_val=out)), rate
    if name in TRANSFORMS:
        x, y, axes = args[0], made[0], args[1]
        longer = x if x.numel() >= y.numel() else y
        length = math.prod(longer.shape[axis] for axis in axes)
        factor = 5.0 if name == "_fft_c2c" else 2.5
        return factor * longer.numel() * math.log2(max(length, 2)), VECTOR
    return float(sum(x.numel() for x in made)), VECTOR


def convolution_backward_operations(
    gradient: Tensor, x: Tensor, weight: Tensor, *rest: Any
) -> float:
    """Return the operations of a convolution's backward pass: those of the forward pass for each.

    Args:
        gradient, x, weight: of the output, the input, and the kernel (out, in / groups, *size).
        rest: as in aten::convolution_backward; the last says which gradients are wanted: of the
            input, of the weight, of the bias.
    """
    transposed, wanted = rest[4], rest[-1]
    places = x if transposed else gradient
    return 2.0 * places.numel() * weight[0].numel() * sum(wanted[:2])


@dataclass(frozen=True)
class Cost:
    """What an epoch of an experiment costs on paper.

    Attributes:
        config: its class name.
        batch: samples of a step.
        samples: of an epoch.
        step: the work of a step.
    """

    config: str
    batch: int
    samples: int
    step: Work = field(default_factory=Work)

    @property
    def steps(self) -> int:
        return self.samples // self.batch

    @property
    def bound(self) -> float:
        """Seconds of an epoch, at least."""
        return self.steps * max(self.step.seconds, self.step.calls * SECONDS_A_CALL)


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Form all terms of averages over delays at once, as on a GPU; on a CPU they are cut."""
    before = dict(delay_averages.TERMS_AT_A_TIME)
    delay_averages.TERMS_AT_A_TIME["cpu"] = 2**30
    try:
        yield
    finally:
        delay_averages.TERMS_AT_A_TIME.update(before)


def count_steps(config: ConfigMeta, folder: Path) -> list[Work]:
    """Return the work of a training step of each of `BATCHES`, in the types that it has on a GPU.

    Raises:
        UserError: the loss of random strain was not finite, so that there was no backward pass.
    """
    # On a GPU `amp = True` is float16; on a CPU bfloat16 has the same size.
    amp = "bf16" if config.amp else "none"
    # A step is the same with pseudo-labels and with any noise curve.
    changes = [f"amp={amp}", "accumulate=1", "pseudo_labels=none"]
    if "curves" in config.observation.params:
        changes.append("observation.curves=none")
    config = override(config, changes)
    experiment = random_experiment(config, folder, torch.device("cpu"), 16, 8)
    trainer = experiment.build_trainer(0, training=True)
    trainer.model.train()
    works = []
    with as_on_a_gpu():
        # Banks and filters that are made at the first batch are no part of a step.
        take_step(trainer, config, BATCHES[0])
        for batch in BATCHES:
            with CountedWork() as counted:
                take_step(trainer, config, batch)
            works.append(counted.work)
    if trainer.state.bad_losses:
        raise UserError(f"{config.__name__}: random strain has no finite loss: it is not counted")
    return works


def take_step(trainer: Trainer, config: ConfigMeta, batch: int) -> None:
    """Train for one step on random strain."""
    detectors, samples = observation_of(config).shape
    strain = torch.randn(batch, detectors, samples) * 1e-21
    if draws_its_samples(config):  # they come as the transforms would leave those of files
        strain = torch.randn(batch, detectors, samples // decimation_of(config))
    rows = {
        "waveform": strain,
        "target": (torch.arange(batch) % 2).float()[:, None],
        "index": torch.arange(batch),
    }
    trainer.train_step(trainer.prepare_batch(rows, "train"), 1.0, last=True)


def cost_of(config: ConfigMeta) -> Cost:
    """Return what an epoch of an experiment costs on paper."""
    rows = TRAINING_SAMPLES * (config.cv - 1) // config.cv if config.cv > 1 else TRAINING_SAMPLES
    samples = count_training_samples(config, rows, 0)
    with tempfile.TemporaryDirectory() as folder:
        works = count_steps(config, Path(folder))
    step = works[0].at_batch(works[1], config.batch_size)
    return Cost(config.__name__, config.batch_size, samples, step)


def measured_steps(folder: Path) -> dict[str, dict[tuple[str, int], float]]:
    """Return what `training_step` has recorded of GPUs.

    Returns:
        By the device's name the seconds of a whole step, by the `name` and batch of an experiment.
    """
    found: dict[str, dict[tuple[str, int], float]] = {}
    for path in list_records(folder):
        record = read_json(path)
        if not isinstance(record, dict) or record.get("device", {}).get("kind") != "cuda":
            continue
        entry = record["benchmarks"].get("training_step")
        if entry is None or entry["quick"]:
            continue
        rows = [Measurement.from_plain(row) for row in entry["rows"]]
        # One with the cache on the device has a key of its own, which is that of no experiment.
        steps = {(row.key.partition(".")[2], row.settings["batch"]): row.ours for row in rows}
        found[record["device"]["name"]] = {key: step.median for key, step in steps.items()}
    return found


def format_costs(
    costs: Sequence[dict[str, Any]],
    measured: Mapping[str, Mapping[tuple[str, int], float]] | None = None,
) -> list[str]:
    """Return the table of all experiments.

    Args:
        costs: of experiments, each in JSON's own types.
        measured: as `measured_steps` returns it; each device has a column.
    """
    measured = measured or {}
    body = []
    for plain in costs:
        cost = Cost(**{**plain, "step": Work(**plain["step"])})
        step, config = cost.step, ConfigMeta.registry.get(cost.config)
        name = None if config is None else config.name
        seconds = [steps.get((name, cost.batch)) for steps in measured.values()]
        body.append(
            (
                cost.config,
                str(cost.batch),
                f"{cost.samples:,}",
                format_significant(step.operations / cost.batch / 1e9),
                format_significant(step.moved / cost.batch / 1e6),
                f"{step.calls:,.0f}",
                format_duration(step.seconds),
                format_duration(step.calls * SECONDS_A_CALL),
                format_duration(cost.bound),
                *("-" if each is None else format_duration(each) for each in seconds),
            )
        )
    head = (
        "experiment",
        "batch",
        "samples an epoch",
        "10⁹ operations a sample",
        "MB moved a sample",
        "calls a step",
        "a step by arithmetic and memory",
        "by launches",
        "an epoch, at least",
        *(f"a step, measured on {device}" for device in measured),
    )
    return markdown_table(head, body)


def record_costs(folder: Path, costs: Sequence[dict[str, Any]]) -> Path:
    """Write the record and its table; return the JSON file.

    Args:
        folder: of the record.
        costs: of experiments, each in JSON's own types.
    """
    path = folder / RECORD
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "format": FORMAT,
        "card": CARD,
        "rates": {"half": HALF, "tf32": TF32, "vector": VECTOR, "memory": MEMORY},
        "seconds_a_call": SECONDS_A_CALL,
        "costs": list(costs),
    }
    lines = [f"# An epoch on paper, {CARD}", "", *format_costs(record["costs"])]
    with locked_record(path):
        write_record(path, record, lines)
    return path


def read_costs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what is recorded in a folder, by the name of the experiment.

    Raises:
        UserError: the file is damaged, or of another format.
    """
    path = folder / RECORD
    return {cost["config"]: cost for cost in load_results(path)["costs"]} if path.exists() else {}


def page_lines(folder: Path = RESULTS) -> list[str]:
    """Return the recorded table for the page of performance; nothing without a record.

    Steps that GPUs have been measured to take stand beside those on paper.
    """
    costs = read_costs(folder)
    return [*format_costs(list(costs.values()), measured_steps(folder)), ""] if costs else []


def make_parser() -> CommandLine:
    parser = CommandLine(
        prog="-m benchmarks.training.epoch_on_paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="EXPERIMENT", help="default: all of configs.py")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"record all experiments in DIR/{RECORD} and .md"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="with --out: count those anew that are recorded"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    if args.names and args.out is not None:
        raise UserError("names print their figures, and --out records all: leave one of them out")
    known = [name for name, each in ConfigMeta.registry.items() if each.__module__ == "configs"]
    costs = {} if args.out is None or args.fresh else read_costs(args.out)
    costs = {name: cost for name, cost in costs.items() if name in known}
    chosen = [find_config(name) for name in args.names or known if name not in costs]
    for config in progress(chosen, desc="counted", unit="experiment"):
        costs[config.__name__] = asdict(cost_of(config))
        if args.out is not None:  # a count that is killed goes on from here
            path = record_costs(args.out, list(costs.values()))
    print("\n".join(format_costs(list(costs.values()))))
    if args.out is not None and chosen:
        print(f"\nrecorded in {path.with_suffix('.md')}")
    return 0


if __name__ == "__main__":
    run_command(main)
