"""A small problem for the loop: a linear network on noise with an offset in the positives.

Under torchrun it is one of several processes:

    torchrun --nproc_per_node 2 tests/helpers/toy.py OUT BATCH_SIZE
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loss_functions import BCEWithLogitsLoss, RankLoss
from metrics import AUC
from training import distributed
from training.settings import Checkpointing, Loading, Objective, Precision, Reporting, Schedule
from training.trainer import Trainer
from training_extras import EarlyStopping, Preparation, TrainHook


class Toy(Dataset):
    """Rows of 3 x 8 noise; positives are shifted by half a standard deviation."""

    def __init__(self, n: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        target = rng.permutation(np.arange(n) % 2)
        x = rng.normal(size=(n, 3, 8)) + 0.5 * target[:, None, None]
        self.x, self.target = torch.tensor(x).float(), torch.tensor(target).float()[:, None]

    def __len__(self) -> int:
        return len(self.x)

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        index = torch.tensor(list(indices))
        return {"waveform": self.x[index], "target": self.target[index], "index": index}


def noise_batch(n: int = 16) -> dict[str, torch.Tensor]:
    """Return a batch of white noise with targets 0, 1, 0, 1, ..."""
    return {
        "waveform": torch.randn(n, 3, 32),
        "target": (torch.arange(n) % 2).float()[:, None],
        "index": torch.arange(n),
    }


class Jitter(nn.Module):
    """A transform that draws random numbers, so that resuming has something to get wrong."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * torch.randn_like(x)


# The settings of a trainer come in groups; a test names them one by one.
GROUPS = {
    "objective": Objective,
    "loading": Loading,
    "schedule": Schedule,
    "precision": Precision,
    "checkpointing": Checkpointing,
    "reporting": Reporting,
}


def make_trainer(folder: Path, jitter: bool = True, **options) -> Trainer:
    """Return a trainer of a small network whose checkpoints go to a folder.

    Args:
        options: arguments of `Trainer`, fields of its groups of settings, or `lr`.
    """
    torch.manual_seed(1)
    model = options.pop("model", None) or nn.Sequential(
        nn.Flatten(), nn.Linear(24, 16), nn.SiLU(), nn.Linear(16, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=options.pop("lr", 1e-2))
    settings = {
        "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 4),
        "criterion": BCEWithLogitsLoss(),
        "metric": AUC(),
        "hook": TrainHook(),
        "folder": folder,
        "name": "fold0",
        "transforms": {"train": Preparation(Jitter() if jitter else nn.Identity()), "test": dict},
        "callbacks": [EarlyStopping(5, maximize=True)],
        "device": torch.device("cpu"),
        "counters": (7, 0),
        "batch_size": 16,
        "num_epochs": 3,
        "show_progress": False,
    }
    settings |= options
    for group, kind in GROUPS.items():
        names = {field.name for field in dataclasses.fields(kind)} & settings.keys()
        settings[group] = kind(**{name: settings.pop(name) for name in names})
    return Trainer(model, **settings)


class DyingHook(TrainHook):
    """The second process dies, or has a bad loss, in the fifth step."""

    def __init__(self, how: str) -> None:
        self.how, self.steps = how, 0

    def forward_train(self, model: nn.Module, batch: dict, criterion: nn.Module) -> tuple:
        self.steps += 1
        loss, logits, target = super().forward_train(model, batch, criterion)
        if self.steps == 5 and distributed.rank() == 1:
            if self.how == "die":
                os._exit(7)
            loss = loss * float("nan")
        return loss, logits, target


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--rows", type=int, default=203)
    parser.add_argument("--rank_loss", action="store_true")
    parser.add_argument("--fail", help="'die' or 'nan': the second process does in the fifth step")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    distributed.start()
    trainer = make_trainer(
        args.folder,
        jitter=False,
        batch_size=args.batch_size,
        accumulate=args.accumulate,
        hook=DyingHook(args.fail) if args.fail else TrainHook(),
        criterion=RankLoss(rank=0.9) if args.rank_loss else BCEWithLogitsLoss(),
    )
    trainer.fit(Toy(args.rows), Toy(51, seed=1))
    prediction = trainer.predict(Toy(31, seed=2))
    if distributed.is_main():
        rows = [
            [row["train_loss"], row["valid_loss"], row["valid_metric"]]
            for row in trainer.state.history
        ]
        by_step = np.array([entry["losses"] for entry in trainer.state.loss_by_step])
        parts = {"history": np.array(rows), "by_step": by_step, "prediction": prediction}
        np.savez(args.folder / "result.npz", **parts)
    distributed.stop()


if __name__ == "__main__":
    main()
