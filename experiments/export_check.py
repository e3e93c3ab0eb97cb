"""Does an exported file say what its run says? The rule by which one is refused.

Float32 has seven digits, and what rounding does to a logit depends on the network: one whose logits
are of thousands, or which enlarges small differences of its input, has no logits to 1e-4, in torch
or anywhere. So a file that is further than 1e-4 from its run is judged by the same network in
float64. With s the standard deviation of the run's logits, or 1 if that is less, a file is taken if
a logit is at most

    1e-4 from the run's, or
    1e-4 s from that in float64, or
    twice as far from that in float64 as the run's own is, if the run's is within 1e-3 s.

The last condition keeps a network of which float32 says nothing from excusing any file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.export_files import Scorer, random_strain
from experiments.predictor import Predictor
from runtime.double_precision import double_precision
from runtime.errors import UserError

TOLERANCE = 1e-4  # of a logit
FACTOR = 2  # between the errors of a file and of its run
LARGEST_ERROR = 1e-3  # of the run itself, in spreads of its logits
BATCHES = (1, 3, 8)  # sizes that the check tries: the graph must take any


@dataclass(frozen=True)
class Comparison:
    """How far an export and its run are from one another, and from the network in float64.

    Attributes:
        differences: the largest of a logit between export and run, by what was scored: 'noise' and,
            with samples, 'samples'.
        spread: standard deviation of the run's logits on all of it; the largest of several outputs.
        export_error, run_error: the largest distance of a logit from float64, in units of the
            spread, or of 1 if that is less. NaN where `differences` needs no such judgement.
    """

    differences: dict[str, float]
    spread: float
    export_error: float = float("nan")
    run_error: float = float("nan")

    @property
    def largest(self) -> float:
        """The largest difference of a logit."""
        return float(np.max(list(self.differences.values())))  # NaN if one is, unlike max()

    @property
    def is_near(self) -> bool:
        """Whether no logit differs by more than 1e-4."""
        return self.largest <= TOLERANCE

    @property
    def is_accepted(self) -> bool:
        """Whether the export passes by the rule of this module."""
        if self.is_near or self.export_error <= TOLERANCE:
            return True
        return self.run_error <= LARGEST_ERROR and self.export_error <= FACTOR * self.run_error

    def judgement(self) -> str:
        """Return in words how far both are from float64."""
        return (
            f"More than {TOLERANCE:g}, so judged by the same network in float64: the file is "
            f"{self.export_error:.1e} from it and the run {self.run_error:.1e}, in units of "
            f"{max(1.0, self.spread):.3g}"
        )

    def in_words(self) -> str:
        """Return all figures in words, for the model card."""
        parts = [f"on {name} {value:.1e}" for name, value in self.differences.items()]
        text = f"largest difference of a logit {', '.join(parts)}; spread {self.spread:.3g}"
        return text if self.is_near else f"{text}. {self.judgement()}"


def compare_with_run(predictor: Predictor, score: Scorer, samples: np.ndarray | None) -> Comparison:
    """Compare an export with its run, and where they differ, both with float64.

    Args:
        score: of the export.
        samples: (n, detector, time) float32; None compares on noise alone.
    """
    compared = {"noise": random_strain(predictor, sum(BATCHES)).numpy()}
    if samples is not None:
        compared["samples"] = samples
    found = {what: score_in_batches(score, strain) for what, strain in compared.items()}
    # (folds, n) -> (n, folds), and so with several outputs
    expected = {
        what: np.moveaxis(predictor.score(strain).logits, 0, 1) for what, strain in compared.items()
    }
    differences = {what: float(np.abs(found[what] - expected[what]).max()) for what in compared}
    logits = np.concatenate(list(expected.values()))
    # Over samples and folds, (outputs,) or a single number
    spread = logits.std((0, 1))
    comparison = Comparison(differences, float(spread.max()))
    if comparison.is_near:
        return comparison
    exact = np.concatenate([score_in_float64(predictor, strain) for strain in compared.values()])
    scale = np.maximum(1.0, spread)
    export_error = float((np.abs(np.concatenate(list(found.values())) - exact) / scale).max())
    run_error = float((np.abs(logits - exact) / scale).max())
    return Comparison(differences, comparison.spread, export_error, run_error)


def score_in_batches(score: Scorer, strain: np.ndarray) -> np.ndarray:
    """Return the logits of an export in batches of several sizes, (n, folds) or with outputs."""
    found, first = [], 0
    for size in (*BATCHES, len(strain)):
        if first < len(strain):
            found.append(score(np.ascontiguousarray(strain[first : first + size])))
            first += size
    return np.concatenate(found)


def score_in_float64(predictor: Predictor, strain: np.ndarray) -> np.ndarray:
    """Return the logits of a run whose transforms and networks compute in float64.

    The run must have scored before: operators are kept from their first use on.

    Returns:
        (n, folds) float64, or (n, folds, outputs) where there are several.
    """
    rows = predictor.check(strain)
    with double_precision():
        parts = [predictor.forward(part.double()) for part in rows.split(predictor.batch_size)]
    logits = np.moveaxis(np.concatenate(parts, axis=1), 0, 1)  # (n, folds, outputs)
    return logits[..., 0] if predictor.outputs.is_plain else logits


def check_export(predictor: Predictor, score: Scorer, samples: np.ndarray | None) -> Comparison:
    """Compare an export with its run; see `compare_with_run`.

    Raises:
        UserError: it is refused by the rule of this module.
    """
    comparison = compare_with_run(predictor, score, samples)
    if not comparison.is_accepted:
        raise UserError(
            f"the exported graph differs from the run by {comparison.largest:.1e} in a logit. "
            f"{comparison.judgement()}; allowed are {TOLERANCE:g}, or {FACTOR} times what the run "
            f"is off. Nothing was kept: use --format safetensors"
        )
    return comparison
