"""A run of `train.py` that several processes can share, for test_distributed.py.

Started by torchrun or plainly, it notes who writes what and lets one process die.

    NOTES=folder [DIE=rank,step] torchrun --nproc_per_node 2 tests/parallel_run.py ARGUMENTS

Nothing is drawn at random: that differs by rank, so that the number of processes counts.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configs
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from models1d import ResNet1d
from runtime.command_line import run_command
from training.trainer import Trainer
from transforms import Scale

NETWORK = {
    "in_channels": 3,
    "base_filters": 8,
    "kernel_size": 15,
    "stride": 4,
    "groups": 1,
    "n_block": 2,
    "downsample_gap": 1,
    "increasefilter_gap": 2,
    "use_bn": True,
    "dropout": 0.0,
}
ConfigMeta(
    "Parallel",
    (configs.Demo,),
    {
        "name": "parallel",
        "cv": 2,
        "num_epochs": 2,
        "train_cache": None,
        "test_cache": None,
        "model": ResNet1d,
        "model_params": NETWORK,
        "ema_decay": 0.9,
        "batch_scheduler": True,
        "transforms": dict.fromkeys(("train", "test"), (Part(Scale, scale=1e20),)),
        "optimizer_params": {"lr": 3e-4},
    },
)


def note_writes(folder: Path, results: str) -> None:
    """Note each file below `results` that this process opens for writing, renames or removes."""
    notes = os.open(folder / f"writes{os.environ.get('RANK', '0')}", os.O_WRONLY | os.O_CREAT)

    def look(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        elif event in ("os.rename", "os.remove", "os.mkdir"):
            path, changes = arguments[0], True
        else:
            return
        if not isinstance(path, str | bytes | os.PathLike):  # a file that is open already
            return
        path = os.fsdecode(path)
        if changes and path.startswith(results):
            os.write(notes, f"{path}\n".encode())

    sys.addaudithook(look)


def die_at(rank: int, number: int) -> None:
    """Let the process of this rank be killed in its step of this number, counted over the run."""
    step, count = Trainer.train_step, itertools.count(1)

    def dying(self: Trainer, *arguments, **options) -> None:
        if next(count) == number and int(os.environ.get("RANK", "0")) == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        step(self, *arguments, **options)

    Trainer.train_step = dying


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    note_writes(Path(os.environ["NOTES"]), argv[argv.index("--results") + 1])
    if "DIE" in os.environ:
        rank, number = os.environ["DIE"].split(",")
        die_at(int(rank), int(number))
    from train import main as train

    return train(argv)


if __name__ == "__main__":
    run_command(main)
