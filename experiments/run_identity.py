"""What decides a fold's weights: digests that are compared, and words that explain a difference.

A digest of content decides whether two things are the same; names and paths only explain. Settings
fall into three kinds:

    LOCATIONS   where samples lie, and what is done with finished networks: may change freely
    ADJUSTABLE  how the optimiser gets there, not what a sample is: may change with --resume, and
                every change is recorded with the epoch it holds from
    the rest    decide what is learnt: another value is another experiment
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from data.sample_files import read_strain
from data.strain_cache import StrainCache
from experiments.building import weights_of_fold
from experiments.fold_record import read_fold
from experiments.observation_record import plain_config, recorded_digest
from experiments.targets import without_default_targets
from physics.observation import COMPETITION, Sampling
from physics.population import COMPETITION_POPULATION, Population
from runtime.errors import UserError
from training.schedules import LENGTHS

if TYPE_CHECKING:
    import pandas as pd

LOCATIONS = (
    "reference",
    "train_path",
    "test_path",
    "train_cache",
    "test_cache",
    "data_root",
    "views",
    "published",
    "covariates",
)
# They change how a result is computed or where its curves go, and not the result.
WITHOUT_EFFECT = ("gradient_checkpointing", "tracker")
# Settings that are younger than the records of runs: at their defaults they are left out, so that
# the digests of earlier runs still match.
YOUNGER = (
    "parameter_groups",
    "lookahead",
    "freeze",
    "warmup_epochs",
    "checkpoint_average",
    "seeds",
    "limit_samples",
    "weight_column",
)
# The product of the batch size, `accumulate` and the processes is compared beside them.
ADJUSTABLE = ("batch_size", "accumulate", "num_epochs", "amp", "max_bad_losses")
# How long a schedule lasts and how high it goes: they go with num_epochs and the learning rate.
SCHEDULE_SIZE = (*LENGTHS, "epochs", "steps_per_epoch", "max_lr")
# Samples of a table whose strain is compared. 512 are read and digested in about 0.2 s from memory.
STRAIN_SAMPLES = 512
EARLIER_STRAIN_SAMPLES = 8  # older records have so many; they are among the 512, to be comparable


# --- settings --------------------------------------------------------------------------------


def deciding_settings(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what is learnt, of a config in JSON's own types."""
    left_out = (*LOCATIONS, *ADJUSTABLE, *WITHOUT_EFFECT)
    kept = {k: v for k, v in plain.items() if k not in left_out}
    for key in YOUNGER:
        # none, no epoch, no seeds: the default of each
        if key in kept and kept[key] in (None, 0.0, []):
            del kept[key]
    # Of the observation its content decides. That of the competition is left out, and so are its
    # binaries, as in records that are older than these settings: their digests must still match.
    observation = recorded_digest(kept.pop("observation", None))
    if observation != COMPETITION.digest:
        kept["observation"] = observation
    population = complete_population(kept.pop("population", None))
    if population != to_plain(COMPETITION_POPULATION):
        kept["population"] = population
    kept = without_default_targets(kept)
    if "optimizer_params" in kept:
        kept["optimizer_params"] = without(kept["optimizer_params"], "lr")
    if "scheduler_params" in kept:  # OneCycleLR has a learning rate of its own
        kept["scheduler_params"] = without(kept["scheduler_params"], "max_lr")
    if "scheduler_params" in kept:
        kept["scheduler_params"] = without(kept["scheduler_params"], *SCHEDULE_SIZE)
    if "callbacks" in kept:
        kept["callbacks"] = [without(part, "patience") for part in kept["callbacks"] or ()]
    return kept


def complete_population(plain: Any) -> Any:
    """Return a recorded population with all fields that there are now, those it lacks at default.

    Args:
        plain: as in config.json; None is of a run that is older than the setting.
    """
    if plain is None:
        return to_plain(COMPETITION_POPULATION)
    try:
        return to_plain(Population.from_plain(without(plain, "class")))
    except UserError:
        return plain  # damaged: it equals no population


def without(mapping: Any, *keys: str) -> Any:
    """Return a mapping without some of its keys; anything else as it is."""
    if not isinstance(mapping, Mapping):
        return mapping
    return {key: value for key, value in mapping.items() if key not in keys}


def changed_settings(config: ConfigMeta, before: Mapping[str, Any]) -> list[str]:
    """Return the deciding settings in which a config differs from an earlier one in JSON.

    A setting that did not exist then has not changed where it stands at its default.
    """
    plain, root = plain_config(config), config.root()
    now, then = deciding_settings(plain), deciding_settings(before)
    return sorted(
        key
        for key in now | then
        if now.get(key) != then.get(key)
        and not (key not in before and plain[key] == to_plain(getattr(root, key)))
    )


def adjustable_settings(
    config: ConfigMeta, processes: int, code: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what may change with --resume, as it is recorded with an epoch.

    Args:
        code: digests of the code of an own file, which changes with a flag only.
    """
    patience = [part.params["patience"] for part in config.callbacks if "patience" in part.params]
    return {
        **{key: getattr(config, key) for key in ADJUSTABLE},
        "learning_rate": config.optimizer_params.get("lr"),
        "schedule": {k: v for k, v in config.scheduler_params.items() if k in SCHEDULE_SIZE},
        "patience": patience[0] if patience else None,
        "processes": processes,
        **({"code": dict(code)} if code else {}),
    }


# --- samples ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunSamples:
    """The samples of a run, in the order of the rows of all its arrays.

    Attributes:
        train_ids, test_ids: (n,) and (m,) text.
        folds: (n,) the fold that each training row is validated in.
        targets: of the training rows, (n,) or, of several outputs, (n, outputs).
        weights: (n,) factors on their losses; None where all count alike.
    """

    train_ids: np.ndarray
    test_ids: np.ndarray
    folds: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None

    @cached_property
    def labelled(self) -> str:
        """A digest of the training rows: their ids, targets, folds and, if any, weights."""
        return labelled_samples_digest(self.train_ids, self.targets, self.folds, self.weights)


def labelled_samples_digest(
    ids: np.ndarray, targets: np.ndarray, folds: np.ndarray, weights: np.ndarray | None = None
) -> str:
    """Return a digest of training samples: ids, targets, folds, weights, (n,) each, in order."""
    content = hashlib.sha256("\n".join(ids.tolist()).encode() + b"\0")
    content.update(np.ascontiguousarray(targets, "<f8"))
    content.update(np.ascontiguousarray(folds, "<i8"))
    if weights is not None:
        content.update(np.ascontiguousarray(weights, "<f8"))
    return content.hexdigest()


def strain_digests(
    table: pd.DataFrame,
    cache: str | None,
    wanted: Sequence[str] | None = None,
    sampling: Sampling = COMPETITION.sampling,
) -> dict[str, str]:
    """Return digests of the strain of samples, as float32, by id.

    They are the same whether a sample is read from its file or from a cache. Of a table of up to
    `STRAIN_SAMPLES` samples all are taken, so that any that is replaced is noticed. Of a larger one
    as many are taken, spread evenly: where k of n samples are replaced at random places, none of
    those compared is among them with a probability of about exp(-512 k / n). So replaced data is
    noticed, and one replaced sample in 100 nearly always (99.4 %). What remains unseen in a large
    table is a change of a few: a single file of 100,000 in 99.5 % of all cases.

    Args:
        table: id and path.
        cache: the path of the samples' cache, if they have one. What is digested then is the
            strain in the cache, which is what a network gets.
        wanted: ids; None takes those said above.
        sampling: what the files are samples of; a cache says so itself.

    Raises:
        UserError: a sample is missing or damaged.
    """
    ids = table["id"].to_numpy(str)
    if wanted is None:
        rows = rows_to_compare(len(ids))
    else:
        rows = np.flatnonzero(np.isin(ids, list(wanted)))
    if cache is not None:
        opened = StrainCache(cache)
        places = opened.rows_of(ids[rows])
        # One at a time: all of them at once would need 25 MB.
        digests = [strain_digest(opened.read([place])[0]) for place in places]
    else:
        digests = [file_digest(path, sampling) for path in table["path"].iloc[rows]]
    return {str(ids[row]): digest for row, digest in zip(rows, digests, strict=True)}


def rows_to_compare(count: int) -> np.ndarray:
    """Return the rows of a table of `count` samples whose strain is compared, ascending."""
    spread = [
        np.linspace(0, count - 1, min(samples, count)).astype(int)
        for samples in (STRAIN_SAMPLES, EARLIER_STRAIN_SAMPLES)
    ]
    return np.unique(np.concatenate(spread))


def strain_digest(strain: np.ndarray) -> str:
    """Return a digest of the strain of a sample, (detector, time)."""
    return hashlib.sha256(np.ascontiguousarray(strain, "<f4")).hexdigest()


def file_digest(path: str, sampling: Sampling = COMPETITION.sampling) -> str:
    """Return a digest of the strain in a file, which is read once in a process while unchanged."""
    try:
        stat = os.stat(path)
    except OSError:
        return strain_digest(read_strain(path, sampling))  # raises with what is wrong
    version = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return digest_of_version(str(path), sampling, version)


@lru_cache(maxsize=8 * STRAIN_SAMPLES)  # of train, test and pseudo-labelled samples, for each fold
def digest_of_version(path: str, sampling: Sampling, version: tuple[int, ...]) -> str:
    """Return a digest of the strain in a file; `version` is what changes when it is replaced."""
    return strain_digest(read_strain(path, sampling))


def differing_sample(one: Mapping[str, str], two: Mapping[str, str]) -> str | None:
    """Return the first id that both name and whose strain differs."""
    return next((name for name in one if name in two and one[name] != two[name]), None)


# --- the start -------------------------------------------------------------------------------


def start_of_fold(
    config: ConfigMeta, results: Path, fold: int, pretrained: bool, weights: str | None
) -> dict[str, Any]:
    """Return what a fold's weights begin as: `from`, `name` (words) and `weights` (a digest).

    Args:
        pretrained: whether pretrained weights are used where the config asks for them.
        weights: the file that --weights names.
    """
    if config.weight_path is not None:
        record = read_fold(weights_of_fold(config, results, fold))
        start = {"from": "weight_path", "name": str(config.weight_path), "weights": record.digest}
        # With --allow_unfinished: what comes of it says so too.
        return start if record.finished or not record.is_known else {**start, "finished": False}
    if weights is not None:
        digest = None
        if Path(weights).is_file():
            with open(weights, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"from": "--weights", "name": weights, "weights": digest}
    if pretrained and config.model_params.get("pretrained"):
        return {"from": "pretrained weights", "name": None, "weights": None}
    return {"from": "random weights", "name": None, "weights": None}


# --- together --------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedFrom:
    """All that decided a fold's weights, beside the settings in config.json.

    Attributes:
        samples: digest of ids, targets and folds of the training table.
        strain: digests of some samples' strain: 'train', and 'pseudo' for pseudo-labelled ones;
            'noise' of the files of recorded strain that training samples are drawn from.
        settings: digest of the deciding settings.
        start: what the weights began as; see `start_of_fold`.
        pseudo_labels: digest of the pseudo-labels, if any.
        rows_per_step: rows of an optimiser step: batch size x accumulate x processes.
        code: digests of the code of an own file, see `own_code`; empty where nothing is compared.
            It may change on resuming and is therefore recorded with the adjustable settings.
    """

    samples: str
    strain: Mapping[str, Mapping[str, str]]
    settings: str
    start: Mapping[str, Any]
    pseudo_labels: str | None
    rows_per_step: int
    code: Mapping[str, str] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Return what fold<k>.json holds as `trained_from`."""
        return {key: value for key, value in asdict(self).items() if key != "code"}


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return a digest of settings in JSON's own types."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def explain_difference(
    before: Mapping[str, Any], now: TrainedFrom, same_fold: bool, begins: bool
) -> str | None:
    """Return in which way a fold was trained from something else than this run would train from.

    Args:
        before: what is recorded of the fold; runs older than this record have nothing.
        same_fold: whether `now` is of the same fold; weights to start from differ between folds.
        begins: whether any fold of this run is still to be begun, with the weights that the
            command line names. To resume, they need not be named again.

    Returns:
        A clause with 'it' for the fold, and what to do; None where nothing differs.
    """
    if not before:
        return None
    if before["samples"] != now.samples:
        return (
            "it was trained on other ids, targets or folds, or with other weights, than the "
            "training table gives now"
        )
    for split in before["strain"]:
        other = differing_sample(before["strain"][split], now.strain.get(split, {}))
        if other is not None:
            return f"the strain of {other!r} is not what it was trained on"
    if before["pseudo_labels"] != now.pseudo_labels:
        return "it was trained with other pseudo-labels than their source gives now"
    then, start = before["start"], now.start
    named = then["from"] == "weight_path"
    if not (begins or named):
        return None
    if then["from"] != start["from"]:
        began = then["name"] or then["from"]
        # The option that begins as the fold did; weight_path is a setting of the experiment.
        again = {
            "--weights": f" (begin so again with --weights {then['name']})",
            "random weights": " (begin so again with --no_pretrained)",
        }
        option = "" if start["from"] == "weight_path" else again.get(then["from"], "")
        return f"it began with {began}{option} and this run begins with " + (
            start["name"] or start["from"]
        )
    digests = (then["weights"], start["weights"])
    # Weights of a run differ from fold to fold; a file that --weights names does not.
    if (same_fold or not named) and None not in digests and digests[0] != digests[1]:
        return f"it began with other weights than {start['name']} holds now"
    return None


def explain_rows_per_step(
    before: Mapping[str, Any], config: ConfigMeta, processes: int
) -> str | None:
    """Return how to keep the rows of an optimiser step as they were, where they differ.

    Returns:
        A clause with 'it' for the fold that has --set to type; None where they are the same.
    """
    now = config.batch_size * config.accumulate * processes
    then = before.get("rows_per_step", now)
    if then == now:
        return None
    if then % processes:
        advice = f"start as many processes as then, or one with --set batch_size={then}"
    else:
        # The largest batch that this run's memory is known to be asked for, and that fits in.
        share = then // processes
        batch = max(
            size
            for size in range(1, share + 1)
            if share % size == 0 and (size <= config.batch_size or size == 1)
        )
        advice = f"--set batch_size={batch} accumulate={share // batch} keeps them"
    return (
        f"it was trained with {then} rows an optimiser step (batch_size x accumulate x processes) "
        f"and this run takes {now}: {advice}"
    )
