"""One comparison with another package: both sides, whether they agree, and its row of the table."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from benchmarks.harness.command import BenchmarkSettings
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, interleave, paired_ratios

TARGET = 1.0  # no slower than the other package
# Why a target is missed, found by measuring: by (key of the row, kind of device).
REASONS: dict[tuple[str, str], str] = {
    ("torchaudio.biquad", "cpu"): "ours is computed in float64, in which Fourier transforms take "
    "twice as long as in float32 and are twenty times as exact: so a run and its exported graph "
    "agree; torchaudio's recursion is in float32.",
    ("timm.training_step", "cpu"): "ours makes the images as well, and looks at the gradients: "
    "the front-end with its learnt width takes 2 to 4 % of the step, the gradient of the image "
    "1 %, their norm half a percent (`profile_step`), samples, transforms and the loop 1 %; what "
    "is left is less than the spread between runs.",
}


def in_words(difference: float, of: str = " of the peak") -> str:
    """Return how far two results differ."""
    return "equal" if difference == 0 else f"differ by {difference:.0e}{of}"


@dataclass(frozen=True)
class Comparison:
    """Two functions that do the same.

    Attributes:
        key: of the row, which begins with the name of the package.
        what: our side; `against`: theirs.
        ours, theirs: called again and again.
        samples: of a call of ours and of theirs; a row has the time of one.
        agreement: how far the results differ, in words; or why they cannot be compared.
        difference: the same as a number, of the peak unless `agreement` says otherwise.
        settings: what decides the figure.
        rounds: timings of each side.
        around: what both sides run within.
    """

    key: str
    what: str
    against: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    samples: tuple[int, int]
    agreement: str
    difference: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    rounds: int = 15
    around: Callable[[], AbstractContextManager] = nullcontext


# A function that yields the comparisons of a package: inputs are made when they are asked for.
Comparisons = Callable[[BenchmarkSettings], Iterator[Comparison]]


def why_not_usable(packages: tuple[str, ...]) -> str | None:
    """Return why one of some packages cannot be imported, None where all can."""
    for name in packages:
        try:
            importlib.import_module(name)
        # What a package raises while it is imported is its own: a library of another torch is an
        # OSError, a name that numpy has dropped an AttributeError.
        except ModuleNotFoundError as error:
            return f"the package {error.name} is not installed"
        except (ImportError, OSError, AttributeError, RuntimeError) as error:
            return f"{name} cannot be loaded: {str(error).splitlines()[0]}"
    return None


def version_of(package: str) -> str:
    """Return the version of an installed package, '' where it is unknown."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def measure_comparison(settings: BenchmarkSettings, comparison: Comparison) -> Measurement:
    """Time both sides in turn; the figure is how many times faster ours is, for each sample."""
    rounds = settings.rounds(comparison.rounds)
    sides = {"ours": comparison.ours, "theirs": comparison.theirs}
    with comparison.around():
        times = interleave(sides, settings.device, rounds, settings.least_seconds)
    ours = [seconds / comparison.samples[0] for seconds in times["ours"]]
    theirs = [seconds / comparison.samples[1] for seconds in times["theirs"]]
    return Measurement(
        comparison.key,
        comparison.what,
        comparison.against,
        paired_ratios(theirs, ours),
        "×",
        True,
        {"cpu": TARGET, "cuda": TARGET},
        Spread.of(ours),
        Spread.of(theirs),
        settings={
            **comparison.settings,
            "threads": torch.get_num_threads(),
            "results": comparison.agreement,
        },
        reason=REASONS.get((comparison.key, settings.device.type)),
        extra={"rounds": rounds, "largest_difference": comparison.difference},
    )
