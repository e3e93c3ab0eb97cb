"""Lines of orientation in the learning curves: what guessing scores, and what matched filters do.

A line is drawn only where its value is known of these very samples, or of the law that they were
drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from physics.bank_settings import BankSettings
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION
from runtime.errors import UserError
from runtime.files import is_number, read_json_object

GUESSING, MATCHED_FILTERS = "guessing", "matched filters"
# Figures of the hold-out of `python -m benchmarks.detection`, whose samples follow the
# competition's laws. An installation without that file has no line of matched filters.
RULER = Path(__file__).parents[1] / "benchmarks" / "results" / "detection.json"
ON_RULER = "matched filter, log-mean-exp"
# What simulation.json may say besides the laws; `observation` is there of other observations.
FREE = {"n_train", "n_test", "seed", "device", "batch", "format", "bank", "population"}


def lines_of(
    config: Mapping[str, Any], share: float | None, data: Path
) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of a run's learning curves.

    Args:
        config: the content of config.json.
        share: of signals among the training samples; None where it is not known.
        data: the folder of the training table.

    Returns:
        By 'loss' and 'metric', the `name` and `value` of each line.
    """
    lines: dict[str, list[dict[str, Any]]] = {"loss": [], "metric": []}
    loss = guessing_loss(config, share)
    if loss is not None:
        lines["loss"].append({"name": GUESSING, "value": round(loss, 5)})
    if is_area(config):
        lines["metric"].append({"name": GUESSING, "value": 0.5})
        matched = matched_filter_score(data)
        if matched is not None:
            lines["metric"].append({"name": MATCHED_FILTERS, "value": round(matched, 4)})
    return lines


def is_area(config: Mapping[str, Any]) -> bool:
    """Whether the metric of a run is the AUC of a signal."""
    metric = config.get("eval_metric")
    return isinstance(metric, Mapping) and metric.get("class") == "AUC"


def guessing_loss(config: Mapping[str, Any], share: float | None) -> float | None:
    """Return the smallest cross-entropy of one probability for all samples; None of other losses.

    With p the share of the targets after smoothing, it is their entropy,
    -p log p - (1 - p) log(1 - p), which is ln 2 for as many signals as noise.
    """
    criterion = config.get("criterion")
    if not isinstance(criterion, Mapping) or criterion.get("class") != "BCEWithLogitsLoss":
        return None
    smoothing = criterion.get("smoothing", 0.0)
    weighs = criterion.get("pos_weight") is not None or bool(config.get("side_targets"))
    if share is None or not 0 < share < 1 or weighs or not is_number(smoothing):
        return None
    p = share * (1 - smoothing) + smoothing / 2
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def matched_filter_score(data: Path) -> float | None:
    """Return the recorded AUC of matched filters; None for samples of another law."""
    try:
        if not follows_competition(read_json_object(data / "simulation.json")):
            return None
        figure = read_json_object(RULER, {"detectors": dict})["detectors"][ON_RULER]["auc"]
    # Either file may be missing or of another format: then the figure is not known.
    except (UserError, OSError, KeyError, TypeError):
        return None
    return float(figure) if is_number(figure) else None


def follows_competition(simulation: Mapping[str, Any]) -> bool:
    """Whether simulation.json is of samples that were drawn from the competition's laws."""
    settings = simulation.get("settings")
    if not isinstance(settings, Mapping) or set(settings) - FREE:
        return False
    bank, population = settings.get("bank"), settings.get("population")
    if not isinstance(bank, Mapping):
        return False
    laws = BankSettings.of(COMPETITION_POPULATION, COMPETITION).to_plain()
    placement = COMPETITION_POPULATION.placement(COMPETITION.window, COMPETITION.detectors)
    # How many binaries there are and which is no law.
    of_law = [{k: v for k, v in each.items() if k not in ("size", "seed")} for each in (bank, laws)]
    return of_law[0] == of_law[1] and population == placement
