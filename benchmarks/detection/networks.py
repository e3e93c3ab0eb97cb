"""Trained networks as detectors: the mean logit of a run's folds, on samples that none has seen."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.detection.holdout import Holdout
from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from experiments.building import build_model, build_preparation, observation_of
from experiments.fold_record import check_finished, read_fold
from experiments.npy_files import load_array
from experiments.run_identity import changed_settings
from experiments.summary import read_history
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION
from runtime.console import progress
from runtime.errors import UserError
from runtime.files import read_json
from training.checkpoints import load_model
from training_extras import find_views, prepare_views

# What decides the logits that weights give: the noise curves that the strain is whitened with, and
# when and how long the templates of a bank are, among them.
LAWS = {"observation": COMPETITION, "population": COMPETITION_POPULATION}
DECISIVE = ("model", "model_params", "transforms", "transforms2", "hook", *LAWS)


@dataclass(frozen=True)
class NetworkScorer:
    """The folds of one run.

    Attributes:
        config: names the network and what prepares its input.
        folder: where fold<k>.pt lie.
        views: names of the test-time views that are averaged over.
        allow_unfinished: whether folds whose training has not ended may be scored.
    """

    config: ConfigMeta
    folder: Path
    views: tuple[str, ...] = ("identity",)
    allow_unfinished: bool = False

    @property
    def key(self) -> str:
        return f"network {self.name}"

    @property
    def name(self) -> str:
        words = [self.config.name, *(["with views"] if self.views != ("identity",) else [])]
        return ", ".join([*words, *(["unfinished"] if self.has_unfinished else [])])

    @property
    def has_unfinished(self) -> bool:
        """Whether it scores, because that is allowed, with folds whose training has not ended."""
        if not self.allow_unfinished:
            return False
        return any(read_fold(path).is_unfinished for path in self.weights())

    @property
    def names(self) -> tuple[str]:
        return (self.name,)

    def weights(self) -> list[Path]:
        """Return the checkpoints of all folds that there are.

        Raises:
            UserError: there is none, they were trained with another network or preparation, or a
                training has not ended and `allow_unfinished` is not set.
        """
        found = {
            int(match[1]): path
            for path in self.folder.glob("fold*.pt")
            if (match := re.fullmatch(r"fold(\d+)\.pt", path.name))
        }
        if not found:
            raise UserError(
                f"{self.folder} holds no fold<k>.pt to score {self.config.__name__} with: train it "
                f"first, or name the folder of the runs with --results"
            )
        path = self.folder / "config.json"
        changed = changed_settings(self.config, read_json(path)) if path.exists() else []
        # How long it was trained, and on what, may differ: the weights are what is scored.
        changed = [key for key in changed if key in DECISIVE]
        if changed:
            raise UserError(
                f"the networks in {self.folder} were trained with another {', '.join(changed)}: "
                f"score them as they were trained, with --set"
            )
        weights = [found[fold] for fold in sorted(found)]
        records = [read_fold(path) for path in weights]
        check_finished(records, self.allow_unfinished)
        return weights

    def settings(self) -> dict[str, Any]:
        # Scores of the competition were kept before there were other observations, without these.
        decisive = [
            key
            for key in DECISIVE
            if key not in LAWS or getattr(self.config, key).build() != LAWS[key]
        ]
        config = {key: to_plain(getattr(self.config, key)) for key in decisive}
        digests = {path.name: file_digest(path) for path in self.weights()}
        return {"format": 2, "config": config, "views": list(self.views), "weights": digests}

    def rows(self, holdout: Holdout) -> int:
        return len(holdout)

    def budget(self) -> dict[str, Any] | None:
        """Return samples, seconds and device of the training; None if the run has no history.

        Samples count as often as they were seen; they are None where test samples with
        pseudo-labels were among them. Of weights that began as another run's, only what came
        after is counted, and "from" names that run.

        Raises:
            UserError: a file of the run lacks what says so.
        """
        path = self.folder / "history.csv"
        if not path.exists():
            return None
        # Folds whose weights are gone are not scored, and so do not count.
        kept = {int(path.stem.removeprefix("fold")) for path in self.weights()}
        history = [row for row in read_history(path) if row["fold"] in kept]
        folds = load_array(self.folder / "folds.npy")
        try:
            config = read_json(self.folder / "config.json")
            starts = read_json(self.folder / "run.json")["starts"]
            # Injections are as many as the run or else the data set says; of files, a fold trains
            # on those that others validate.
            drawn = config["dataset_params"].get("samples_per_epoch", default_samples(self.config))
            seen = sum(drawn or int((folds != row["fold"]).sum()) for row in history)
            return {
                "samples": seen if config["pseudo_labels"] is None else None,
                "folds": len(kept),
                "seconds": sum(row["train_seconds"] + row["valid_seconds"] for row in history),
                "device": ", ".join(dict.fromkeys(start["device"] for start in starts)),
                "threads": max(start["threads"] for start in starts),
                "from": config["weight_path"],
            }
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"the files of {self.folder} do not say what its training took ({error!r}): were "
                f"history.csv, config.json and run.json written by this version?"
            ) from error

    def number_of_networks(self) -> int:
        """Return how many networks there are, one for each fold that has weights."""
        return len(self.weights())

    def networks(self) -> Iterator[nn.Module]:
        """Return the networks one after another, with the weights of a fold each."""
        for path in self.weights():
            model = build_model(self.config)
            load_model(model, path)
            yield model

    @torch.inference_mode()
    def compute(
        self, holdout: Holdout, device: torch.device, show_progress: bool | None = None
    ) -> np.ndarray:
        """Return the logits (1, samples), averaged over folds and views."""
        preparation = build_preparation(self.config, "test", device)
        hook = self.config.hook.build()
        views = find_views(self.views, observation=observation_of(self.config))
        size, number = self.config.batch_size, self.number_of_networks()
        logits = np.zeros((number, len(holdout)))
        bar = progress(total=logits.size, desc=self.config.name, unit="sample", show=show_progress)
        with bar:
            for fold, model in enumerate(self.networks()):
                model.to(device).eval()
                for start in range(0, len(holdout), size):
                    stop = min(start + size, len(holdout))
                    batch = {"waveform": holdout.batch(start, stop, device)}
                    each = [
                        hook.forward_test(model, prepared).float()
                        for prepared in prepare_views(views, batch, preparation)
                    ]
                    logits[fold, start:stop] = torch.stack(each).mean(0)[:, 0].cpu().numpy()
                    bar.update(stop - start)
        return logits.mean(0, keepdims=True)


class InitialScorer(NetworkScorer):
    """One network with the weights that its training would begin with; no run is needed."""

    @property
    def name(self) -> str:
        return f"{super().name}, untrained"

    def weights(self) -> list[Path]:
        return []

    def number_of_networks(self) -> int:
        return 1

    def networks(self) -> Iterator[nn.Module]:
        yield build_model(self.config, pretrained=True)


def default_samples(config: ConfigMeta) -> int | None:
    """Return how many samples an epoch draws where a config does not say, None from files."""
    parameter = inspect.signature(config.dataset).parameters.get("samples_per_epoch")
    return None if parameter is None else parameter.default


def file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
