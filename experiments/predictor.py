"""The networks of a finished run, applied to new samples; predict.py's `load_run` returns them.

Each fold's network gives a logit, averaged over the test-time views. The probability of a sample is
the mean over the folds, as in submission.csv of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from configuration.config_class import ConfigMeta
from experiments.building import build_model, build_preparation, observation_of
from experiments.fold_record import FoldRecord, check_finished, read_fold
from experiments.objectives import output_names
from experiments.own_code import warn_of_changed_code
from experiments.predictions import sigmoid
from experiments.samples_learnt_from import fold_number
from experiments.scores import blend_folds
from experiments.seed_folders import SEED_FOLDER, seed_folder, seeds_in
from experiments.targets import Outputs, outputs_of
from experiments.unscored_samples import UnscoredError, are_unscored, explain_unscored
from physics.observation import Observation
from runtime.errors import UserError
from training.checkpoints import load_model
from training.prediction_views import prepare_views
from training_extras import find_views


@dataclass(frozen=True)
class Scores:
    """What the networks say of some samples, in the usual case of one logit.

    Attributes:
        logits: (folds, n) float64.
    """

    logits: np.ndarray

    @property
    def probability(self) -> np.ndarray:
        """(n,) float64, the mean over the folds."""
        return sigmoid(blend_folds(self.logits))

    @property
    def of_folds(self) -> np.ndarray:
        """(folds, n) float64, each fold's probability."""
        return sigmoid(self.logits)

    @property
    def spread(self) -> np.ndarray:
        """(n,) float64, standard deviation of the folds' probabilities; 0 of a single fold."""
        return self.of_folds.std(0)


@dataclass(frozen=True)
class OutputScores:
    """What the networks say of some samples where there are several outputs, or numbers.

    Attributes:
        logits: (folds, n, outputs) float64, as the networks put them out.
        outputs: what they are.
    """

    logits: np.ndarray
    outputs: Outputs

    @property
    def of_folds(self) -> np.ndarray:
        """(folds, n, outputs) float64: probabilities, or values in the units of the table."""
        found = [self.outputs.target.to_values(self.outputs.main(self.logits))]
        for number, side in enumerate(self.outputs.sides):
            values = side.quantity.decode(self.outputs.side(self.logits, number))
            found.append(values[..., None])  # (folds, n) -> (folds, n, 1)
        return np.concatenate(found, axis=-1)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """(n,) float64 of each output by name, the mean over the folds."""
        return dict(zip(output_names(self.outputs), self.of_folds.mean(0).T, strict=True))

    @property
    def spread(self) -> dict[str, np.ndarray]:
        """(n,) float64 of each output by name, standard deviation over the folds."""
        return dict(zip(output_names(self.outputs), self.of_folds.std(0).T, strict=True))

    @property
    def probability(self) -> np.ndarray:
        """(n,) float64 that a sample holds a signal, the mean over the folds.

        Raises:
            UserError: no output is said to be a signal.
        """
        return sigmoid(blend_folds(self.outputs.signal_logits(self.logits, "the run")))


def make_scores(logits: np.ndarray, outputs: Outputs) -> Scores | OutputScores:
    """Return scores of logits (folds, n), or (folds, n, outputs) where there are several."""
    return Scores(logits) if outputs.is_plain else OutputScores(logits, outputs)


class Predictor:
    """Strain to probability, or to what the config's targets say, by the networks of a run.

    Args:
        config: of the run.
        records: of the folds whose weights are used.
        device: to compute on.
        views: names of test-time views.
        batch_size: samples forwarded at once.

    Raises:
        UserError: weights are damaged or of another network; a view is not known.
    """

    def __init__(
        self,
        config: ConfigMeta,
        records: Sequence[FoldRecord],
        device: torch.device,
        views: Sequence[str] = ("identity",),
        batch_size: int = 64,
    ) -> None:
        self.config, self.records, self.device = config, tuple(records), device
        self.batch_size = batch_size
        self.view_names = tuple(views)
        self.norm_factor = config.dataset_params.get("norm_factor")
        self.factors = None  # (detector, 1), on the device
        if self.norm_factor is not None:
            factors = torch.tensor(self.norm_factor, dtype=torch.float32, device=device)
            self.factors = factors[:, None]
        self.views = find_views(self.view_names, self.norm_factor, observation=self.observation)
        self.preparation = build_preparation(config, "test", device)
        self.hook, self.outputs = config.hook.build(), outputs_of(config)
        self.networks = []
        for record in self.records:
            network = build_model(config)
            load_model(network, record.path)
            self.networks.append(network.to(device).eval())

    @property
    def observation(self) -> Observation:
        return observation_of(self.config)

    @property
    def folds(self) -> tuple[int, ...]:
        """A number for each network: that of its fold or, in a run of several seeds, its place."""
        numbers = tuple(fold_number(record.path) or 0 for record in self.records)
        return numbers if len(set(numbers)) == len(numbers) else tuple(range(len(numbers)))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the networks, in the order of the logits: fold0, or seed0_fold0."""
        return tuple(network_name(record.path) for record in self.records)

    @torch.inference_mode()
    def score(
        self, waveforms: np.ndarray | torch.Tensor, names: Sequence[str] | None = None
    ) -> Scores | OutputScores:
        """Return what each fold says of strain (n, detector, time) or of one sample.

        Args:
            waveforms: the strain.
            names: of the samples, for messages; None for their numbers.

        Raises:
            UserError: another shape, or NaN; or a sample has no finite score.
        """
        strain = self.check(waveforms)
        logits = np.empty((len(self.networks), len(strain), self.outputs.width))
        for first in range(0, len(strain), self.batch_size):
            part = strain[first : first + self.batch_size]
            logits[:, first : first + len(part)] = self.forward(part)
        # (folds, n, 1) -> (folds, n)
        scores = make_scores(logits[..., 0] if self.outputs.is_plain else logits, self.outputs)
        unscored = are_unscored(logits)
        with np.errstate(over="ignore", invalid="ignore"):
            # A finite output may be the logarithm of what float64 cannot hold.
            unscored |= are_unscored(scores.of_folds)
        if unscored.any():
            rows = np.flatnonzero(unscored).tolist()
            raise UnscoredError(
                explain_unscored([str(row if names is None else names[row]) for row in rows])
            )
        return scores

    def __call__(self, waveforms: np.ndarray | torch.Tensor) -> np.ndarray:
        """Return the probability (n,) float64 that each sample holds a signal; see `score`.

        Where no output is one of a signal, return the values (n, outputs) instead.
        """
        scores = self.score(waveforms)
        if self.outputs.target.signal is None:
            return scores.of_folds.mean(0)
        return scores.probability

    def check(self, waveforms: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return strain as float32 (n, detector, time).

        Raises:
            UserError: another shape, or numbers that are not finite.
        """
        strain = torch.as_tensor(np.asarray(waveforms, dtype=np.float32))
        shape = self.observation.sampling.shape
        if strain.ndim == 2:
            strain = strain[None]
        if strain.ndim != 3 or tuple(strain.shape[1:]) != shape:
            raise UserError(
                f"strain of shape {tuple(strain.shape)}: {self.config.__name__} takes "
                f"(n, {shape[0]}, {shape[1]}), {self.observation.sampling}"
            )
        if not torch.isfinite(strain).all():
            row = int((~torch.isfinite(strain)).flatten(1).any(1).nonzero()[0])
            raise UserError(
                f"sample {row} holds NaN or infinite strain: leave it out or restore it"
            )
        return strain

    def forward(self, strain: torch.Tensor) -> np.ndarray:
        """Return logits (folds, B, outputs) float64 of a batch, averaged over the views."""
        strain = strain.to(self.device)
        if self.factors is not None:
            strain = strain / self.factors
        total = torch.zeros(
            (len(self.networks), len(strain), self.outputs.width),
            dtype=torch.float64,
            device=self.device,
        )
        # Views outside: what the transforms make of a view is made once for all networks.
        for prepared in prepare_views(self.views, {"waveform": strain}, self.preparation):
            for row, network in enumerate(self.networks):
                total[row] += self.hook.forward_test(network, prepared)  # (B, outputs)
        # Read once, since each reading waits for a GPU.
        return total.cpu().numpy() / len(self.views)


def network_name(weights: Path) -> str:
    """Return what a network is called by its file: fold0, or seed0_fold0 of a run of seeds."""
    fold = f"fold{fold_number(weights) or 0}"
    of_seed = SEED_FOLDER.fullmatch(weights.parent.name)
    return f"{of_seed[0]}_{fold}" if of_seed else fold


def find_run(config: ConfigMeta, folder: Path, allow_unfinished: bool = False) -> list[FoldRecord]:
    """Return the records of the folds of a run that have weights.

    Raises:
        UserError: none has, one is damaged, or a training has not ended and `allow_unfinished` is
            not set.
    """
    # A run of several seeds has them in the folder of each.
    folders = [seed_folder(folder, seed) for seed in seeds_in(folder)] or [folder]
    found = [
        path
        for part in folders
        for path in sorted(
            (path for path in part.glob("fold*.pt") if fold_number(path) is not None),
            key=fold_number,
        )
    ]
    if not found:
        raise UserError(
            f"{folder} has no weights (fold0.pt and on): train {config.__name__} first "
            f"(python train.py --config {config.reference}), or name the folder that has them"
        )
    records = [read_fold(path) for path in found]
    check_finished(records, allow_unfinished)
    warn_of_changed_code(config, records)
    return records
