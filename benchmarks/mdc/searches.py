"""The searches that a command line names: networks of experiments, and plain matched filters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.mdc.search_run import EventSettings, Search
from configuration.config_class import ConfigMeta, find_config
from configuration.json_types import to_plain
from configuration.overrides import override
from experiments.building import observation_of
from experiments.fold_record import check_finished, read_fold
from experiments.observation_record import plain_config
from runtime.errors import UserError
from search.scorers import find_bank_decimation, make_plain_scorer, make_scorer
from search.window_scorer import SCORING, find_weights, scoring_settings
from training.checkpoints import content_digest, load_checkpoint

CLUSTER = 1.0  # s; mergers are 24 s apart, and false alarms of one cause come together
# Scores that Gaussian noise exceeds some twenty times an hour or more often, by the kind of score:
# ten times as often as the highest rate that is reported. Quieter peaks would cost most time.
LEAST_LOGIT, LEAST_LOGIT_OF_BANK, LEAST_SQUARED_SNR = 0.0, 2.5, 42.0


@dataclass(frozen=True)
class SearchChoice:
    """What to search with.

    Attributes:
        configs: names of experiments.
        settings: KEY=VALUE that override theirs.
        results: folder of their runs.
        networks: whether their networks search.
        untrained: whether these are filter banks as they begin.
        views: whether their test-time views are averaged.
        plain: whether the plain matched filter of their filter banks searches as well.
        least: score of the quietest trigger of the networks that is kept; None for one that suits
            the kind of network.
        slides: time slides of the background.
        allow_unfinished: whether folds whose training has not ended may search.
    """

    configs: tuple[str, ...]
    settings: tuple[str, ...]
    results: Path
    networks: bool = True
    untrained: bool = False
    views: bool = False
    plain: bool = True
    least: float | None = None
    slides: int = 0
    allow_unfinished: bool = False


def find_searches(choice: SearchChoice, device: torch.device) -> list[Search]:
    """Return the searches of a choice.

    Raises:
        UserError: an experiment is not known, has no weights, or there is nothing to search with.
    """
    import configs  # noqa: F401 - importing it registers the experiments

    searches: dict[str, Search] = {}
    for name in choice.configs:
        config = override(find_config(name), list(choice.settings))
        found = []
        if choice.networks:
            found.append(network_search(config, choice, device))
        if choice.plain and find_bank_decimation(config) is not None:
            found.append(plain_search(config, choice, device))
        for search in found:
            if search.key in searches:
                raise UserError(f"--config names {search.name} twice: name each once")
            searches[search.key] = search
    if not searches:
        raise UserError(
            f"{', '.join(choice.configs)} has no filter bank for a plain matched filter: name "
            f"networks with --config"
        )
    return list(searches.values())


def network_search(config: ConfigMeta, choice: SearchChoice, device: torch.device) -> Search:
    """Return the search with the networks of an experiment.

    Raises:
        UserError: there are no weights, or unfinished ones that are not allowed, or the experiment
            cannot search untrained.
    """
    is_bank = find_bank_decimation(config) is not None
    if choice.untrained and not is_bank:
        raise UserError(
            f"--untrained: {config.__name__} is no filter bank and finds nothing untrained: train "
            f"it and leave --untrained out"
        )
    weights = [] if choice.untrained else find_weights(choice.results / config.name, config)
    records = [read_fold(path) for path in weights]
    check_finished(records, choice.allow_unfinished)
    unfinished = any(record.is_unfinished for record in records)
    views = tuple(config.views) if choice.views else ("identity",)
    words = [config.name, *(["untrained"] if choice.untrained else ())]
    words += ["unfinished"] if unfinished else []  # tables and folders say so
    words += ["with views"] if views != ("identity",) else []
    usual = LEAST_LOGIT_OF_BANK if is_bank else LEAST_LOGIT
    events = EventSettings(CLUSTER, usual if choice.least is None else choice.least, choice.slides)
    return Search(
        ", ".join(words),
        make_key(words),
        observation_of(config),
        make_scorer(config, weights, device, views),
        events,
        describe_scoring(config, views, weights),
    )


def plain_search(config: ConfigMeta, choice: SearchChoice, device: torch.device) -> Search:
    """Return the search with the plain matched filter of an experiment's templates."""
    words = ["plain matched filter", config.name]
    return Search(
        f"plain matched filter, templates of {config.name}",
        make_key(words),
        observation_of(config),
        make_plain_scorer(config, device),
        EventSettings(CLUSTER, LEAST_SQUARED_SNR, choice.slides),
        {**describe_config(config), "statistic": "largest sum of squared SNRs"},
    )


def describe_config(config: ConfigMeta) -> dict[str, Any]:
    """Return all of a config that decides the scores of its network, in JSON's own types."""
    return {
        **scoring_settings(plain_config(config)),
        "scoring": SCORING,
        "observation": observation_of(config).digest,
        # The templates of a filter bank are binaries of its population.
        "population": to_plain(config.population),
    }


def describe_scoring(
    config: ConfigMeta, views: Sequence[str], weights: Sequence[Path]
) -> dict[str, Any]:
    """Return all that decides the scores of some networks of a config, in JSON's own types."""
    return {
        **describe_config(config),
        "views": list(views),
        "weights": [content_digest(load_checkpoint(path)["model"]) for path in weights],
    }


def make_key(words: list[str]) -> str:
    """Return a name for a folder."""
    return re.sub(r"[^a-z0-9]+", "_", " ".join(words).lower())
