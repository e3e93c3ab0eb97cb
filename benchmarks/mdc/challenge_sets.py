"""The challenge's data sets, by number: which strain they are, and what others find in them."""

from __future__ import annotations

from dataclasses import dataclass

from configuration.config_class import ConfigMeta, find_config
from configuration.overrides import override
from experiments.building import observation_of, population_of
from physics.observation import Observation
from physics.population import Population
from runtime.errors import UserError

# The experiment with the observation and the population of each data set. Set 2 would be set 3
# without precession, and set 4 set 3 in the strain of O3a; this project has no experiment of them.
EXPERIMENTS = {"1": "Mdc1", "3": "Mdc3"}


@dataclass(frozen=True)
class StrainSet:
    """What strain is searched.

    Attributes:
        name: '1', '3', or that of an experiment.
        observation: detectors, rate and noise curves.
        population: of the injections.
    """

    name: str
    observation: Observation
    population: Population


def find_strain_set(name: str, settings: list[str] | tuple[str, ...] = ()) -> StrainSet:
    """Return a data set of the challenge, or the strain of an experiment.

    Args:
        name: a number of `EXPERIMENTS`, or the name of an experiment.
        settings: KEY=VALUE that override those of the experiment.

    Raises:
        UserError: there is no such set or experiment.
    """
    import configs  # noqa: F401 - importing it registers the experiments

    if name.isdigit() and name not in EXPERIMENTS:
        raise UserError(
            f"--set {name}: expected data set {' or '.join(EXPERIMENTS)} of the challenge, or the "
            f"name of an experiment"
        )
    config: ConfigMeta = override(find_config(EXPERIMENTS.get(name, name)), list(settings))
    return StrainSet(name, observation_of(config), population_of(config))


@dataclass(frozen=True)
class PublishedSearch:
    """Sensitive distances that others report for a month of a data set.

    Attributes:
        name: of the search.
        distances: Mpc, by false alarms a month.
        source: where they are reported.
    """

    name: str
    distances: dict[float, float]
    source: str


CHALLENGE = "Schäfer et al., Physical Review D 107, 023021 (2023)"
# By the challenge's script, with the maxima of the month's own injections.
PUBLISHED = {
    "1": (
        PublishedSearch(
            "a one-dimensional ResNet",
            {100.0: 2897.0, 10.0: 2772.0, 1.0: 2632.0},
            "2026, quoted second-hand: its publication has not been looked up",
        ),
        PublishedSearch("PyCBC", {100.0: 2687.0, 10.0: 2551.0, 1.0: 2492.0}, CHALLENGE),
        PublishedSearch("TPI FSU Jena", {100.0: 2635.0, 10.0: 2472.0, 1.0: 2363.0}, CHALLENGE),
        PublishedSearch("Virgo-AUTh", {100.0: 2512.0, 10.0: 2318.0, 1.0: 2116.0}, CHALLENGE),
    )
}
