"""Whether a fold may begin with the weights of another run (`weight_path`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from configuration.config_class import ConfigMeta
from experiments.building import observation_of, weights_of_fold
from experiments.fold_record import check_finished, read_fold
from experiments.observation_record import check_observation_of_weights
from experiments.samples_learnt_from import learnt_samples
from runtime.console import LOGGER
from runtime.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def check_starting_weights(
    config: ConfigMeta, results: Path, fold: int, validated: pd.DataFrame, allow_unfinished: bool
) -> None:
    """Refuse to begin a fold with weights that have learnt from what it is validated on.

    Args:
        results: the folder of all results.
        validated: (id, target, path) of the samples that the fold is validated on.
        allow_unfinished: accept the best weights so far of a training that has not ended.

    Raises:
        UserError: they are of a run of another observation; they have learnt from some of them; or
            their training has not ended, and that
            is not allowed.
    """
    if config.weight_path is None:
        return
    weights = weights_of_fold(config, results, fold)
    if not weights.is_file():
        return  # reported where they are read
    check_observation_of_weights(config, weights)
    record = read_fold(weights)
    check_finished(
        [record],
        allow_unfinished,
        "train it to its end with --resume first; or --allow_unfinished begins with its best "
        "weights so far",
    )
    learnt = learnt_samples(record)
    # Weights of another toolkit have no record. They may be used, but not without a warning.
    if learnt is None:
        LOGGER.warning(
            f"no ids_train.npy lies beside {weights}: if those weights have learnt from "
            f"samples of {config.train_path}, the validation of this run flatters"
        )
        return
    if learnt.unknown is not None:
        LOGGER.warning(f"{learnt.unknown}: if they are of this run, its validation flatters")
    seen = learnt.count_seen(validated, config.train_cache, observation_of(config).sampling)
    if seen:
        raise UserError(
            f"weight_path = {config.weight_path}: {weights} has learnt from {seen} samples "
            f"that fold {fold} is validated on, so that its scores would flatter: use the "
            f"folds of that run (the same table, cv and splitter), each with its own weights"
        )
