"""Scores of the hold-out: kept under a digest of what determines them, and the figures of merit.

A scorer has a `key`, the `names` of the scores it gives, `settings()` in JSON's own types that
decide them, `rows(holdout)` that it scores, and `compute`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.detection.holdout import Holdout
from experiments.npy_files import load_array
from metrics import AUC, delong_error, efficiency_at_fpr
from physics.cache_folder import cache_folder
from runtime.console import LOGGER
from runtime.errors import UserError
from runtime.files import atomic_path, read_json, write_json

FALSE_ALARMS = (0.1, 0.01, 0.001)
GRADES = (0.0, 4.5, 6.0, 8.0, 12.0, math.inf)  # of the network SNR; the first from the least
CURVE = (3.7, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 10.0, 14.0, 27.0)
ROC = np.logspace(-3, 0, 61)[:-1]


class SampleScorer(Protocol):
    """A method that scores samples: the larger, the more they look like a signal."""

    @property
    def key(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    def settings(self) -> dict[str, Any]: ...

    def rows(self, holdout: Holdout) -> int: ...

    def compute(
        self, holdout: Holdout, device: torch.device, show_progress: bool | None = None
    ) -> np.ndarray: ...


@dataclass(frozen=True)
class KnownSignal:
    """The true waveform at its true place and time, which the hold-out has kept."""

    key = "known"
    names = ("known waveform and time",)

    def settings(self) -> dict[str, Any]:
        return {"format": 1}

    def rows(self, holdout: Holdout) -> int:
        return len(holdout)

    def compute(
        self, holdout: Holdout, device: torch.device, show_progress: bool | None = None
    ) -> np.ndarray:
        return holdout.known[None]


@dataclass(frozen=True)
class Scores:
    """The scores of one scorer.

    Attributes:
        values: (name, rows) float64.
        seconds: that it took, when it was computed.
        device, threads: that it was computed with.
        kept: whether it was read from disk.
    """

    values: np.ndarray
    seconds: float
    device: str
    threads: int
    kept: bool


def scores_of(
    scorer: SampleScorer,
    holdout: Holdout,
    device: torch.device,
    cache_dir: Path | None = None,
    anew: bool = False,
    show_progress: bool | None = None,
) -> Scores:
    """Return a scorer's scores of a hold-out; compute and keep them if they are not there yet.

    They are named by all that decides them: the samples and the scorer's settings.

    Raises:
        UserError: a score is NaN.
    """
    settings = {"holdout": holdout.digest, "scorer": scorer.key, **scorer.settings()}
    # Sorted: the digest must not depend on the order in which settings were written.
    text = json.dumps(settings, sort_keys=True)
    name = f"scores-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.json"
    header = (cache_dir or cache_folder()) / name
    shape = (len(scorer.names), scorer.rows(holdout))
    if header.exists() and not anew:
        try:
            return load_scores(header, settings, shape)
        except UserError as error:
            LOGGER.warning("%s; they are computed again", error)
    started = time.monotonic()
    values = np.asarray(scorer.compute(holdout, device, show_progress), np.float64)
    seconds = time.monotonic() - started
    # numpy sorts NaN above every number: such samples would count as the loudest signals.
    if values.shape != shape or np.isnan(values).any():
        raise UserError(
            f"{scorer.key} gave scores of shape {values.shape}, {int(np.isnan(values).sum())} of "
            f"them NaN, and {shape} numbers were expected: look at its weights and its input"
        )
    with atomic_path(header.with_suffix(".npy")) as temporary:
        np.save(temporary, values, allow_pickle=False)
    cost = {"seconds": seconds, "device": str(device), "threads": torch.get_num_threads()}
    # Last: where there is a header, the scores are whole.
    write_json(header, {"settings": settings, **cost})
    return Scores(values, **cost, kept=False)


def load_scores(header: Path, settings: dict[str, Any], shape: tuple[int, int]) -> Scores:
    """Read scores that were kept.

    Raises:
        UserError: the files are damaged or hold something else.
    """
    fields, array = read_json(header), header.with_suffix(".npy")
    values = load_array(array)
    fits = isinstance(fields, dict) and fields.get("settings") == settings
    if not fits or values.shape != shape or values.dtype != np.float64:
        raise UserError(f"{array} does not hold the scores that its name says: remove it")
    cost = {name: fields[name] for name in ("seconds", "device", "threads")}
    return Scores(values, **cost, kept=True)


# --- what scores are worth -------------------------------------------------------------------


def efficiency(targets: np.ndarray, scores: np.ndarray, fpr: float) -> dict[str, float]:
    """Return the fraction of signals found at a false-alarm probability, and its error.

    The error adds in quadrature that of counting signals, which is binomial, and that of the
    threshold, below which the noise samples at hand place fpr of all noise only so well: half the
    difference between the efficiencies at one standard deviation more and less.
    """
    value = efficiency_at_fpr(targets, scores, fpr)
    signals, noise = int((targets == 1).sum()), int((targets == 0).sum())
    # The share of noise above a fixed threshold is binomial in the number of noise samples.
    spread = math.sqrt(fpr * (1 - fpr) / noise)
    least, most = max(fpr - spread, 0.0), min(fpr + spread, 1 - 1e-9)
    of_threshold = (
        efficiency_at_fpr(targets, scores, most) - efficiency_at_fpr(targets, scores, least)
    ) / 2
    binomial = binomial_error(value, signals)
    return {
        "efficiency": value,
        "binomial_error": binomial,
        "threshold_error": of_threshold,
        "error": math.hypot(binomial, of_threshold),
    }


def binomial_error(share: float, count: int) -> float:
    """Return the standard error of a share of `count`, never zero.

    Agresti and Coull, The American Statistician 52, 119 (1998): as if two more had been found and
    two more missed.
    """
    shifted = (share * count + 2) / (count + 4)
    return math.sqrt(shifted * (1 - shifted) / (count + 4))


def detection_figures(targets: np.ndarray, snr: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return AUC, efficiencies and their errors, overall and by SNR, in JSON's types.

    Args:
        targets: (samples,) of 0 and 1.
        snr: (samples,) network SNR of the signals.
        scores: (samples,).

    Returns:
        "auc" and "auc_error"; "efficiencies" by false-alarm probability; "grades", the AUC of the
        signals of some SNR against all noise; "curve", the efficiencies of finer grades; "roc",
        pairs of false-alarm probability and efficiency. Grades without two signals are left out.
    """
    found = {
        "auc": AUC()(targets, scores),
        "auc_error": delong_error(targets, scores),
        "efficiencies": {f"{fpr:g}": efficiency(targets, scores, fpr) for fpr in FALSE_ALARMS},
        "roc": [[round(float(f), 6), efficiency_at_fpr(targets, scores, f)] for f in ROC],
        "grades": [],
        "curve": [],
    }
    for name, edges in (("grades", GRADES), ("curve", CURVE)):
        for low, high in itertools.pairwise(edges):
            inside = (targets == 1) & (snr >= low) & (snr < high)
            if inside.sum() < 2:
                continue
            # all noise, whatever the SNR: a noise sample has none
            rows = inside | (targets == 0)
            part = targets[rows], scores[rows]
            entry: dict[str, Any] = {
                "low": low,
                "high": None if math.isinf(high) else high,
                "signals": int(inside.sum()),
                "mean_snr": float(snr[inside].mean()),
            }
            if name == "grades":
                entry |= {"auc": AUC()(*part), "auc_error": delong_error(*part)}
            else:
                entry["efficiencies"] = {f"{fpr:g}": efficiency(*part, fpr) for fpr in FALSE_ALARMS}
            found[name].append(entry)
    return found


# --- in words --------------------------------------------------------------------------------


def detectors_by_auc(results: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the detectors by AUC, the best first."""
    return sorted(results["detectors"].items(), key=lambda item: -item[1]["auc"])


def format_with_error(value: float, error: float, digits: int = 3) -> str:
    """Return '0.855 ± 0.006', with a digit more where the error would be zero."""
    # An error of 0.000 would read as if there were none.
    while round(error, digits) == 0 and digits < 4:
        digits += 1
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if round(error, digits) else "")
