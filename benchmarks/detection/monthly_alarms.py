"""What is found at rates of false alarms a month, below what a hold-out of windows resolves.

A hold-out of 2,000 windows of noise resolves a false-alarm probability of 0.001 a window: some
thousand false alarms a month. Continuous noise resolves a month. `python -m benchmarks.mdc`
searches it and finds the score that noise exceeds 1000, 100, 10 times a month; here the signals of
the hold-out are counted whose windows score more.

A window is scored at its own place. A search also looks beside it and finds a little more; and it
whitens with measured PSDs. The rows compare networks; the distance that a search sees is that of
benchmarks.mdc.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection.networks import NetworkScorer
from benchmarks.detection.scores import binomial_error
from benchmarks.mdc.searches import describe_scoring
from runtime.errors import UserError
from runtime.files import read_json_object


@dataclass(frozen=True)
class MonthlyAlarms:
    """Thresholds that a run of benchmarks.mdc found.

    Attributes:
        path: of its sensitivity.json.
        searches: figures of its searches by name.
        strain: a sentence on its strain.
    """

    path: Path
    searches: Mapping[str, Any]
    strain: str

    @classmethod
    def read(cls, path: Path) -> MonthlyAlarms:
        """Return what a run found.

        Raises:
            UserError: the file is missing or none of benchmarks.mdc.
        """
        advice = "name the sensitivity.json in the folder of a run of benchmarks.mdc"
        plain = read_json_object(path, {"described": dict, "searches": dict}, advice, ("searches",))
        return cls(path, plain["searches"], str(plain.get("described", {}).get("sentence", "")))

    def rows_of(self, scorer: NetworkScorer) -> list[dict[str, Any]]:
        """Return the rates and thresholds that the run resolved with the networks of a scorer.

        Raises:
            UserError: the run has not searched with them, or the file is damaged.
        """
        scoring = describe_scoring(scorer.config, scorer.views, scorer.weights())
        scoring = json.loads(json.dumps(scoring))  # as it is read back: tuples are lists
        try:
            for figures in self.searches.values():
                if figures["settings"]["scoring"] == scoring:
                    return [row for row in figures["rows"] if row["unresolved"] is None]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{self.path} is damaged ({error!r}): run benchmarks.mdc again"
            ) from error
        raise UserError(
            f"{self.path} has no search with the networks of {scorer.name} as they are now: search "
            f"with them first, by python -m benchmarks.mdc --config {scorer.config.__name__}"
        )

    def figures(
        self, scorer: NetworkScorer, targets: np.ndarray, scores: np.ndarray
    ) -> dict[str, Any]:
        """Return the shares of signals that are found at each rate, in JSON's types.

        Args:
            scorer: whose scores they are.
            targets: (samples,) of 0 and 1.
            scores: (samples,).
        """
        signals = scores[targets == 1]
        rows = []
        for row in self.rows_of(scorer):
            share = float((signals > row["threshold"]).mean())
            rows.append(
                {
                    "rate": row["rate"],
                    "threshold": row["threshold"],
                    "efficiency": share,
                    "error": binomial_error(share, len(signals)),
                }
            )
        return {"strain": self.strain, "rows": rows}
