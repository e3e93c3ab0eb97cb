"""The trainer's own steps under a clock, with other work in between.

What is timed is `Trainer.train_epoch` itself, as `train.py` reaches it: the experiment's data set,
sampler and loader, the transforms, the network, clipping, the optimiser, the progress and
checkpoint checks of the loop. It is not called a step at a time: a loader that looks like the
trainer's stands between them, and takes the time whenever the loop asks for the next batch.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness.random_data import write_data_set
from benchmarks.harness.timing import synchronise
from configuration.config_class import ConfigMeta
from configuration.overrides import override
from experiments.building import observation_of
from experiments.experiment import Experiment
from experiments.run_options import RunOptions
from training.trainer import Trainer

# In quick mode, what makes a network tiny.
TINY = {
    "Nspec16": [
        "model_params.model_name=test_efficientnet.r160_in1k",
        "model_params.resize_img=(64,96)",
        "model_params.spec_params.n_scales=16",
        "model_params.spec_params.stride=16",
    ],
    "Seq03aug3": ["model_params.base_filters=32", "model_params.n_block=4"],
    "Seq12arch4": [
        "model_params.hidden_dims=(8,8,8,8,8,8,8,8)",
        "model_params.wave_layers=(2,2,2,2,2,2,2,2)",
    ],
    "Demo": [
        "model_params.widths=(4,8)",
        "model_params.depths=(1,1)",
        "model_params.kernel_sizes=(7,5)",
        "model_params.strides=(4,4)",
    ],
}


@dataclass(frozen=True)
class EpochPlan:
    """How an epoch is divided: warm-up steps, then rounds of timed ones.

    Attributes:
        warm_up: steps at the beginning that are not timed.
        rounds: how many timings.
        steps: steps in a timing.
        settle: steps before each timing that are not timed: while other work was done, readers
            had the time to fetch batches ahead.
    """

    warm_up: int
    rounds: int
    steps: int
    settle: int = 0

    @property
    def total(self) -> int:
        """Steps of the epoch: one more, or the loop would end before the last is seen to end."""
        return self.warm_up + self.rounds * (self.settle + self.steps) + 1


class PacedLoader:
    """A loader for `Trainer.train_epoch` that times steps and calls a function between timings.

    Args:
        loader: the trainer's own.
        plan: which steps are timed.
        between: called after each timing with the number of its steps.

    Attributes:
        step_seconds: of each round, the mean of its steps from asking for a batch to asking for
            the next.
        data_seconds: of each round, the share of that until the batch was there.
    """

    def __init__(
        self,
        loader: DataLoader,
        plan: EpochPlan,
        device: torch.device,
        between: Callable[[int], None] | None = None,
    ) -> None:
        self.loader, self.plan, self.device = loader, plan, device
        self.between = between
        self.batch_sampler = loader.batch_sampler  # the trainer sets the epoch on it
        self.step_seconds: list[float] = []
        self.data_seconds: list[float] = []

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        plan, batches = self.plan, iter(self.loader)
        for _ in range(plan.warm_up):
            yield next(batches)
        for _ in range(plan.rounds):
            for _ in range(plan.settle):
                yield next(batches)
            # Work that is still queued on the GPU belongs to the steps before.
            synchronise(self.device)
            started, waited = time.perf_counter(), 0.0
            for _ in range(plan.steps):
                asked = time.perf_counter()
                batch = next(batches)
                waited += time.perf_counter() - asked
                yield batch
            synchronise(self.device)
            self.step_seconds.append((time.perf_counter() - started) / plan.steps)
            self.data_seconds.append(waited / plan.steps)
            if self.between is not None:
                self.between(plan.steps)
        yield next(batches)


# --- the experiment --------------------------------------------------------------------------


def set_training_flags(device: torch.device) -> None:
    """Set what `train.py` sets on a device before it trains."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def random_experiment(
    config: ConfigMeta,
    folder: Path,
    device: torch.device,
    n_train: int,
    n_test: int = 64,
    changes: Sequence[str] = (),
    **options: Any,
) -> Experiment:
    """Return an experiment of a config on caches of random strain, by default from random weights.

    Args:
        n_train: samples that are trained on in fold 0; those it validates are added.
        changes: as `--set` of `train.py`.
        options: of `RunOptions`.
    """
    set_training_flags(device)
    # Fold 0 trains on (cv - 1) / cv of all samples.
    share = config.cv / (config.cv - 1)
    n = -(-int(n_train * share) // 10) * 10 + 10  # of both classes alike in every fold
    folder.mkdir(parents=True, exist_ok=True)
    sampling = observation_of(override(config, list(changes))).sampling
    settings = [*write_data_set(folder, n, n_test, sampling=sampling), *changes]
    options = {"pretrained": False, "show_progress": False, **options}
    options = RunOptions(results=folder / "results", **options)
    return Experiment(override(config, settings), options, device)


def training_set(experiment: Experiment) -> Dataset:
    """Return the training set of fold 0, as `Experiment.fit_fold` makes it."""
    rows, _ = experiment.folds[0]
    return experiment.dataset(experiment.train, rows, "train")


def plain_step(
    network: nn.Module,
    inputs: Tensor,
    target: Tensor,
    criterion: Callable,
    optimizer: torch.optim.Optimizer,
    autocast: contextlib.AbstractContextManager,
) -> None:
    """Train a network for one step without the trainer: forward, loss, backward, optimizer."""
    with autocast:
        loss = criterion(network(inputs).float(), target)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@contextlib.contextmanager
def trainer_of(experiment: Experiment) -> Iterator[Trainer]:
    """Yield the trainer of fold 0 with fresh weights."""
    yield experiment.build_trainer(0, training=True)


def run_epoch(
    trainer: Trainer,
    dataset: Dataset,
    plan: EpochPlan,
    between: Callable[[int], None] | None = None,
) -> PacedLoader:
    """Train `plan.total` steps and return the loader that timed them."""
    loader = PacedLoader(trainer.make_loader(dataset, shuffle=True), plan, trainer.device, between)
    trainer.max_batches = plan.total
    trainer.train_epoch(loader)
    return loader
