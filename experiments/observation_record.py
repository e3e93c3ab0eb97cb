"""What runs record of their observation, and whether two records say the same.

A noise curve is named by a file or a name, and what decides the result are its numbers. config.json
therefore holds a digest of the whole observation beside its fields: the digest is compared, and the
fields explain. Runs that are older than this setting observed as the competition did.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from experiments.building import observation_of
from experiments.run_records import read_run_config
from physics.observation import COMPETITION, Observation, Sampling
from runtime.errors import UserError

KEY = "observation"


def plain_config(config: ConfigMeta) -> dict[str, Any]:
    """Return a config in JSON's own types, with a digest of its observation, as runs record it.

    Raises:
        UserError: a noise curve is not known or is damaged.
    """
    plain = to_plain(config)
    return plain | {KEY: {**plain[KEY], "digest": observation_of(config).digest}}


def recorded_digest(plain: Mapping[str, Any] | None) -> str:
    """Return the digest of a recorded observation.

    Args:
        plain: as in config.json; None is of a run that is older than the setting.

    Returns:
        The digest; where a curve is no longer there to compute it from, what was recorded.
    """
    if plain is None:
        return COMPETITION.digest
    # Recorded when the curves were read: a curve's file may have changed or gone since.
    if isinstance(plain, Mapping) and "digest" in plain:
        return str(plain["digest"])
    try:
        return observation_from_record(plain).digest
    except UserError:
        return repr(plain)


def observation_from_record(plain: Mapping[str, Any] | None) -> Observation:
    """Return a recorded observation; see `recorded_digest`.

    Raises:
        UserError: the record is damaged.
    """
    if plain is None:
        return COMPETITION
    if not isinstance(plain, Mapping):
        raise UserError(f"{plain!r} is no observation")
    return Observation.from_plain({key: plain[key] for key in plain if key != "digest"})


def explain_other_observation(
    before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> tuple[str, str]:
    """Return two recorded observations that differ in words, with as much as tells them apart."""
    try:
        observations = [observation_from_record(plain) for plain in (before, now)]
    except UserError:
        return "what its config.json says", "another observation"
    sampled, now_sampled = map(str, observations)
    if sampled != now_sampled:
        return sampled, now_sampled
    with_noise = [
        f"{one} in noise from {one.min_frequency:g} Hz of {' '.join(one.curves)}"
        for one in observations
    ]
    # Detectors and sampling are alike, so that the noise makes the difference.
    if with_noise[0] != with_noise[1]:
        return with_noise[0], with_noise[1]
    return f"{with_noise[0]} as these curves were then", "as they are now"


def check_observation_of_weights(config: ConfigMeta, weights: Path) -> None:
    """Refuse weights of a run whose samples are not those of this one.

    Noise curves may differ: a network may be trained further for other noise. Nothing is said of
    weights beside which no config.json lies.

    Raises:
        UserError: the run had other detectors, another sampling rate or another window.
    """
    recorded = read_run_config(weights.parent)
    if not recorded:
        return
    found = observation_from_record(recorded.get(KEY)).sampling
    expected: Sampling = observation_of(config).sampling
    if found != expected:
        raise UserError(
            f"{weights} was trained on samples of {found} and {config.__name__} observes "
            f"{expected}: name weights of a run with the same observation"
        )
