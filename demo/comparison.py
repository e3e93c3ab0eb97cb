"""How good the network is, beside matched filters on the same samples and the optimum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.detection.holdout import Holdout, HoldoutSettings, digest_of
from benchmarks.detection.scores import scores_of
from benchmarks.detection.templates import MatchedFilter
from configuration.config_class import ConfigMeta
from data.strain_cache import StrainCache
from experiments.building import observation_of, population_of, read_data
from experiments.predictions import read_predictions
from experiments.scores import auc_with_error, blend_folds
from experiments.signal_quantities import NETWORK_SNR, SignalParameters
from experiments.summary import read_truth
from runtime.errors import UserError
from runtime.files import read_json_object

# Figures that took hours, of the hold-out of benchmarks/detection; `python -m benchmarks.detection`
# measures them again.
RULER = Path(__file__).parents[1] / "benchmarks" / "results" / "detection.json"
NEAR_OPTIMAL = "near-optimal, 180 templates"


@dataclass(frozen=True)
class Figure:
    """An AUC.

    Attributes:
        auc: the AUC.
        error: its standard error, None where a class has a single sample.
        samples: it was measured on.
    """

    auc: float
    error: float | None
    samples: int

    def __str__(self) -> str:
        return f"{self.auc:.3f}" + ("" if self.error is None else f" ± {self.error:.3f}")


@dataclass(frozen=True)
class Comparison:
    """The scores of the network and of matched filters on the test samples.

    Attributes:
        targets: (m,) 0 and 1.
        snr: (m,) network SNR of the signals, NaN for noise.
        network: (m,) log-odds, of the mean over the folds.
        matched_filter: (m,) log-mean-exp of a bank of matched filters; None if none was asked for.
        templates: of that bank.
        optimum: the recorded figure of the near-optimal statistic, on other samples; None if there
            is none of this observation and population.
    """

    targets: np.ndarray
    snr: np.ndarray
    network: np.ndarray
    matched_filter: np.ndarray | None
    templates: int
    optimum: Figure | None

    def figure(self, scores: np.ndarray) -> Figure:
        """Return the AUC of scores (m,) of these samples."""
        return Figure(*auc_with_error(self.targets, scores), len(self.targets))


def compare(config: ConfigMeta, folder: Path, templates: int) -> Comparison:
    """Score the test samples of a finished run by matched filters too.

    These scores are kept in the cache folder, so that a second call is quick.

    Args:
        config: of the run.
        folder: of the run.
        templates: of the bank of matched filters; 0 for none.

    Raises:
        UserError: the run has no predictions, or the samples lack their truth.
    """
    _, test = read_data(config)
    predictions = read_predictions(folder)
    predictions.check_complete("`make demo` does")
    data = Path(config.test_path).parent
    targets = read_truth(data / "test_labels.csv", test)
    known = SignalParameters().quantities(Path(config.test_path), test["id"].to_numpy(str))
    snr = known.get(NETWORK_SNR)
    if targets is None or snr is None:
        raise UserError(
            f"{data} lacks test_labels.csv or parameters.csv of its samples: simulate them again "
            f"with `python prep_data.py --simulate`, which writes what is missing"
        )
    if list(predictions.test_ids) != list(test["id"]):
        raise UserError(
            f"{folder} has predictions of other samples than those of {config.test_path}: predict "
            f"with --inference --overwrite"
        )
    matched = None
    if templates:
        samples = test_samples(config, list(test["id"]), targets, snr)
        device = torch.device("cpu")
        # the second of its scores is the log-mean-exp
        matched = scores_of(MatchedFilter(templates, step=2), samples, device).values[1]
    return Comparison(
        targets.round(),
        snr,
        blend_folds(predictions.logits),
        matched,
        templates,
        recorded_optimum(config),
    )


def test_samples(
    config: ConfigMeta, ids: list[str], targets: np.ndarray, snr: np.ndarray
) -> Holdout:
    """Return the test samples of an experiment in the form that benchmarks/detection scores.

    Args:
        config: of an experiment with a test cache.
        ids: of the samples, m.
        targets: (m,) 0 and 1.
        snr: (m,) network SNR, NaN for noise.
    """
    observation = observation_of(config)
    cache = StrainCache(config.test_cache, observation.sampling)
    rows = cache.rows_of(ids)
    # prep_data.py writes both in the order of the ids: then nothing is copied.
    in_order = np.array_equal(rows, np.arange(len(cache)))
    strain = cache.data if in_order else cache.read(rows)
    settings = HoldoutSettings(len(ids), observation=observation, population=population_of(config))
    unknown = np.full(len(ids), np.nan)
    return Holdout(settings, strain, targets, np.nan_to_num(snr), unknown, digest_of(strain))


def recorded_optimum(config: ConfigMeta) -> Figure | None:
    """Return the recorded AUC of the near-optimal statistic; None for another law of the samples.

    Raises:
        UserError: the record is damaged.
    """
    settings = HoldoutSettings(observation=observation_of(config), population=population_of(config))
    if not settings.is_competition:
        return None
    record: Mapping[str, Any] = read_json_object(RULER)
    try:
        found = record["detectors"][NEAR_OPTIMAL]
        return Figure(found["auc"], found["auc_error"], found["samples"])
    except KeyError as error:
        raise UserError(
            f"{RULER} has no {error}: restore it with git, or measure it again with "
            f"`python -m benchmarks.detection --out benchmarks/results`"
        ) from error
