"""Two runs compared on the same samples: the difference of their AUCs with its paired interval."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from metrics import mean_error, placements
from reporting.templates import render
from runtime.errors import UserError

MOST_COMPARED = 12  # runs of a set of samples, the best ones: each is compared with each
NORMAL_95 = 1.959963984540054  # of a normal distribution, 95 % lie within so many deviations
KINDS = {"oof": "out of fold", "test": "on the test samples"}


@dataclass(frozen=True)
class AlignedScores:
    """The scores of a run in an order that all runs of the same samples share.

    Attributes:
        samples: which set of samples, a letter or a number.
        targets: (n,) 0 or 1.
        scores: (n,) finite.
    """

    samples: str
    targets: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class PairedDifference:
    """The AUC of one run minus that of another.

    Attributes:
        first, second: the numbers of the runs.
        difference: of the AUCs.
        low, high: the ends of its 95 % interval.
    """

    first: int
    second: int
    difference: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval does not hold 0."""
        return self.low > 0 or self.high < 0

    def turned(self) -> PairedDifference:
        """Return the second minus the first."""
        return PairedDifference(self.second, self.first, -self.difference, -self.high, -self.low)


def compare_scores(aligned: Mapping[int, AlignedScores]) -> list[PairedDifference]:
    """Return the differences of each two runs of the same samples, the first having the lower key.

    The error is that of DeLong et al. 1988 (see `metrics.paired_delong_error`) for two scores of
    the same samples: what both find easy or hard does not contribute.

    Args:
        aligned: by the number of the run.
    """
    parts = {}
    for number, each in aligned.items():
        try:
            parts[number] = placements(each.targets, each.scores)
        except UserError:  # one class, or a single sample of one: no error, and nothing to compare
            continue
    areas = {number: float(of_signal.mean()) for number, (of_signal, _) in parts.items()}
    found = []
    for set_name in dict.fromkeys(aligned[number].samples for number in parts):
        members = [number for number in parts if aligned[number].samples == set_name]
        best = sorted(members, key=lambda number: -areas[number])[:MOST_COMPARED]
        for one, other in itertools.combinations(sorted(best), 2):
            pairs = zip(parts[one], parts[other], strict=True)
            half = NORMAL_95 * mean_error(*(first - second for first, second in pairs))
            difference = areas[one] - areas[other]
            found.append(
                PairedDifference(one, other, difference, difference - half, difference + half)
            )
    return found


def comparison_data(differences: Mapping[str, Sequence[PairedDifference]]) -> dict[str, Any]:
    """Return the differences by kind of samples in JSON types: first, second, difference, ends."""
    return {
        kind: [
            [
                each.first,
                each.second,
                *(round(v, 6) for v in (each.difference, each.low, each.high)),
            ]
            for each in found
        ]
        for kind, found in differences.items()
    }


def comparison_html(
    differences: Mapping[str, Sequence[PairedDifference]], names: Sequence[str]
) -> Markup:
    """Return a table of the runs that are compared with the best one of their samples.

    Args:
        differences: by 'oof' and 'test'.
        names: of the runs, by number.
    """
    tables = []
    for kind, found in differences.items():
        rows = [(names[each.first], names[each.second], each) for each in to_the_best(found)]
        if rows:
            tables.append({"kind": KINDS[kind], "rows": rows})
    return render("comparison.html", tables=tables, most=MOST_COMPARED)


def to_the_best(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    """Return the difference of each run to the best of its samples, which is never positive."""
    # The best is the one that no other exceeds.
    worse = {each.second if each.difference >= 0 else each.first for each in differences}
    found = []
    for each in differences:
        if each.second not in worse:
            found.append(each)
        elif each.first not in worse:
            found.append(each.turned())
    return sorted(found, key=lambda each: (each.second, -each.difference))
