"""Beside timm, scikit-learn and torch: a training step, the AUC, and loading of samples.

timm's side is the step of its own training script, of its own parts: `create_optimizer_v2`,
`dispatch_clip_grad` and a loss, on images that lie ready. Ours is the trainer's whole step: samples
from the cache, transforms, front-end, network, clipping, optimiser, what the loop checks.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.data.reading import open_dataset, write_files
from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.random_data import sample_ids
from benchmarks.harness.timed_steps import TINY, random_experiment, trainer_of, training_set
from benchmarks.harness.timing import check_agreement
from benchmarks.rivals.comparison import Comparison, in_words
from benchmarks.training.training_step import bare_network, ready_inputs
from data.cache_writer import write_cache
from metrics import AUC
from runtime.errors import UserError
from training.data_loading import make_loader, read_batches
from training.settings import Loading
from training.trainer import Trainer

# Samples of a test set of the competition's size, or of its training set.
SCORES = 560_000


# --- timm ------------------------------------------------------------------------------------


def compare_timm(settings: BenchmarkSettings) -> Iterator[Comparison]:
    from configs import Nspec16

    batch = settings.choose(cpu=8, cuda=Nspec16.batch_size, quick=2)
    rounds = settings.rounds(settings.choose(cpu=7, cuda=15, quick=2))
    # An epoch of as many steps as are timed and tried, and more where short ones are repeated.
    steps = settings.choose(cpu=4 * rounds + 8, cuda=40 * rounds, quick=32)
    changes = [f"batch_size={batch}", *(TINY["Nspec16"] if settings.quick else [])]
    with (
        tempfile.TemporaryDirectory(prefix="timm_", dir=settings.folder) as name,
        contextlib.ExitStack() as stack,
    ):
        experiment = random_experiment(
            Nspec16, Path(name), settings.device, steps * batch, changes=changes, num_workers=0
        )
        trainer = stack.enter_context(trainer_of(experiment))
        trainer.wrapped.train()
        yield Comparison(
            "timm.training_step",
            "training step of Nspec16, from the cache to the optimiser, a sample",
            "a step of timm's parts on ready images",
            TrainerSteps(trainer, training_set(experiment)),
            timm_step(trainer, ready_inputs(trainer, batch)),
            (batch, batch),
            "not compared: the same network; ours makes the images as well",
            settings={"batch": batch},
            rounds=rounds,
        )


class TrainerSteps:
    """Steps of a trainer, one a call, epoch after epoch.

    Args:
        trainer: whose loop is run.
        dataset: what it trains on.
    """

    def __init__(self, trainer: Trainer, dataset: Dataset) -> None:
        self.trainer = trainer
        self.loader = trainer.make_loader(dataset, shuffle=True)

    def __call__(self) -> None:
        """Let `Trainer.train_epoch` do the next step of the epoch."""
        state, sampler = self.trainer.state, self.loader.batch_sampler
        if state.step >= sampler.num_batches:
            state.epoch, state.step = state.epoch + 1, 0
        self.trainer.max_batches = state.step + 1
        self.trainer.train_epoch(self.loader)


def timm_step(trainer: Trainer, images: torch.Tensor) -> Callable[[], None]:
    """Return a function that trains the trainer's network on images with timm's parts."""
    from timm.optim import create_optimizer_v2
    from timm.utils import dispatch_clip_grad

    network = bare_network(trainer.model)
    optimizer = create_optimizer_v2(network, opt="adam", lr=1e-4, weight_decay=1e-6)
    criterion = torch.nn.BCEWithLogitsLoss()
    target = torch.randint(0, 2, (len(images), 1), device=trainer.device).float()
    limit = trainer.precision.max_grad_norm

    def step() -> None:
        network.train()
        loss = criterion(network(images), target)
        loss.backward()
        dispatch_clip_grad(network.parameters(), value=limit, mode="value")
        optimizer.step()
        optimizer.zero_grad()

    return step


# --- scikit-learn ----------------------------------------------------------------------------


def compare_sklearn(settings: BenchmarkSettings) -> Iterator[Comparison]:
    from sklearn.metrics import roc_auc_score

    n = settings.choose(cpu=SCORES, cuda=SCORES, quick=2000)
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, n)
    # float32 logits, of which some are equal
    scores = (rng.standard_normal(n) + targets).astype(np.float32)
    metric = AUC()
    difference = abs(metric(targets, scores) - roc_auc_score(targets, scores))
    if not difference < 1e-9:
        raise UserError(f"the AUCs differ by {difference:.1e}, so their times are not compared")
    yield Comparison(
        "sklearn.auc",
        "AUC of predictions",
        "scikit-learn's roc_auc_score",
        lambda: metric(targets, scores),
        lambda: roc_auc_score(targets, scores),
        (1, 1),
        in_words(difference, of=""),
        difference,
        {"predictions": n},
    )


# --- torch's loader --------------------------------------------------------------------------


class NpyFiles(Dataset):
    """One `.npy` file a sample, as a data set of torch's is usually written.

    Args:
        paths: of the files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(np.load(self.paths[row]).astype(np.float32)), row


def compare_torch(settings: BenchmarkSettings) -> Iterator[Comparison]:
    n = settings.choose(cpu=2000, cuda=4000, quick=64)
    batch = settings.choose(cpu=64, cuda=64, quick=32)
    pin = settings.on_gpu
    with tempfile.TemporaryDirectory(prefix="loading_", dir=settings.folder) as name:
        folder, ids = Path(name), sample_ids(n)
        paths = write_files(folder, ids)
        write_cache(folder / "cache.f32", ids, paths, processes=1, show=False)
        ours = open_dataset(paths, folder / "cache.f32")
        for workers in settings.choose(cpu=(0, 2), cuda=(0, 4), quick=(0,)):
            own = make_loader(
                ours,
                Loading(batch_size=batch, num_workers=workers),
                shuffle=True,
                counters=(0, 0),
                device=settings.device,
            )
            plain = DataLoader(
                NpyFiles(paths),
                batch_size=batch,
                shuffle=True,
                num_workers=workers,
                pin_memory=pin,
                persistent_workers=workers > 0,
            )
            difference = same_samples(own, plain)
            yield Comparison(
                f"torch.loader.{workers}",
                f"loading of shuffled batches from the cache, {workers} readers, a sample",
                "torch's DataLoader over .npy files",
                lambda own=own: read_all(own),
                lambda plain=plain: read_all(plain),
                (n, n),
                "the same samples" if difference == 0 else f"differ by {difference:.0e}",
                difference,
                {"batch": batch, "samples": n, "files": "float64, in memory"},
            )


def read_all(loader: Any) -> None:
    """Read an epoch; raise what went wrong in a reader."""
    for _ in read_batches(loader):
        pass


def same_samples(own: DataLoader, plain: DataLoader) -> float:
    """Return the largest difference of the samples of both loaders, as a share of the peak."""
    found: dict[int, torch.Tensor] = {}
    for batch in own:
        found |= dict(zip(batch["index"].tolist(), batch["waveform"], strict=True))
    worst = 0.0
    for strain, rows in plain:
        mine = torch.stack([found[row] for row in rows.tolist()])
        worst = max(worst, check_agreement("loaded samples", mine, strain, 1e-6))
    return worst
