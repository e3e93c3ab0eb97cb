"""Observations are compared by content, and runs older than the setting are the competition's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_run import SMALL

from configs import Demo
from configuration.config_class import ConfigMeta
from configuration.json_types import to_plain
from configuration.overrides import override
from experiments.observation_record import (
    check_observation_of_weights,
    explain_other_observation,
    observation_from_record,
    plain_config,
    recorded_digest,
)
from experiments.run_identity import changed_settings, deciding_settings, settings_digest
from physics.observation import COMPETITION
from runtime.errors import UserError

CURVE = "10 1e-23\n2000 1e-23\n"


def demo(*words: str) -> ConfigMeta:
    return override(Demo, [*SMALL, *words])


def test_records_without_the_setting_are_of_the_competition() -> None:
    """Their digests are found again, and nothing of them has changed."""
    newer = ("observation", "population")
    earlier = {key: value for key, value in to_plain(demo()).items() if key not in newer}
    now = plain_config(demo())
    assert settings_digest(deciding_settings(now)) == settings_digest(deciding_settings(earlier))
    assert changed_settings(demo(), earlier) == []
    other = demo("observation.detectors=[H1,L1]")
    assert changed_settings(other, earlier) == ["observation"]
    assert settings_digest(deciding_settings(plain_config(other))) != settings_digest(
        deciding_settings(earlier)
    )
    heavier = demo("population.snr=[8.0,30.0]")
    assert changed_settings(heavier, earlier) == ["population"]
    assert recorded_digest(None) == COMPETITION.digest == now["observation"]["digest"]


def test_a_curve_is_compared_by_its_numbers(tmp_path: Path) -> None:
    """Another name of the same numbers changes nothing; other numbers under one name do."""
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text(CURVE)
    two.write_text(CURVE)
    config = demo(f"observation.curves={one}")
    before = json.loads(json.dumps(plain_config(config)))
    assert changed_settings(demo(f"observation.curves={two}"), before) == []
    one.write_text(CURVE.replace("1e-23", "2e-23"))
    assert changed_settings(config, before) == ["observation"]
    then, now = explain_other_observation(
        before["observation"], plain_config(config)["observation"]
    )
    assert "as these curves were then" in then
    assert now == "as they are now"
    # without a digest, a curve that is gone is another one
    one.unlink()
    assert recorded_digest({**before["observation"]}) == before["observation"]["digest"]
    del before["observation"]["digest"]
    assert changed_settings(demo(f"observation.curves={two}"), before) == ["observation"]


def test_words_tell_two_observations_apart() -> None:
    plain = plain_config(demo())["observation"]
    words = explain_other_observation(None, {**plain, "window": 4.0})
    assert words == ("H1 L1 V1 at 2048 Hz, 2 s", "H1 L1 V1 at 2048 Hz, 4 s")
    then, now = explain_other_observation(plain, {**plain, "min_frequency": 20.0})
    assert "from 10 Hz" in then
    assert "from 20 Hz" in now


def test_weights_of_other_samples_are_refused_and_of_other_noise_are_not(tmp_path: Path) -> None:
    weights = tmp_path / "fold0.pt"
    check_observation_of_weights(demo(), weights)  # of another toolkit: nothing is known
    (tmp_path / "config.json").write_text(json.dumps(plain_config(demo())))
    check_observation_of_weights(demo("observation.min_frequency=20.0"), weights)
    with pytest.raises(UserError, match="H1 L1 V1 at 2048 Hz, 2 s and Demo observes H1 L1 V1 at 4"):
        check_observation_of_weights(demo("observation.sample_rate=4096"), weights)


@pytest.mark.parametrize("plain", [[], 3, {"detectors": ["X1"]}, {"rate": 3}])
def test_damaged_records_are_refused(plain: object) -> None:
    with pytest.raises(UserError):
        observation_from_record(plain)
