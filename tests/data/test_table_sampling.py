"""What the samples of a table are: written only where they are not the competition's."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.table_sampling import (
    check_sampling,
    format_setting,
    read_sampling,
    sampling_path,
    write_sampling,
)
from physics.observation import COMPETITION, Observation, Sampling
from runtime.errors import UserError

TRIANGLE = Observation(("ET1", "ET2", "ET3"), window=8.0).sampling


def test_a_folder_without_the_file_holds_the_competitions_samples(tmp_path: Path) -> None:
    write_sampling(tmp_path, COMPETITION.sampling)
    assert list(tmp_path.iterdir()) == []
    assert read_sampling(tmp_path) == COMPETITION.sampling
    write_sampling(tmp_path, TRIANGLE)
    assert read_sampling(tmp_path) == TRIANGLE


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"detectors": ["H1"], "sample_rate": 2048}',
        '{"detectors": 3, "sample_rate": 2048, "window": 2}',
        '{"detectors": ["H1"], "sample_rate": "fast", "window": 2}',
        '{"detectors": ["H1"], "sample_rate": 1e999, "window": 2}',
    ],
)
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    sampling_path(tmp_path).write_text(text)
    with pytest.raises(UserError, match=r"observation\.json"):
        read_sampling(tmp_path)


def test_other_samples_are_refused_with_both_named() -> None:
    check_sampling("a.f32", TRIANGLE, TRIANGLE, "name another")
    with pytest.raises(UserError) as refused:
        check_sampling("a.f32", TRIANGLE, COMPETITION.sampling, "name another")
    assert str(refused.value) == (
        "a.f32 holds ET1 ET2 ET3 at 2048 Hz, 8 s and the experiment expects H1 L1 V1 at 2048 Hz, "
        "2 s: name another; or state its observation with --set observation.detectors="
        "[ET1,ET2,ET3] observation.sample_rate=2048 observation.window=8"
    )


def test_the_advised_setting_states_the_observation() -> None:
    """What the message says can be typed."""
    from configuration.overrides import override
    from experiments.building import observation_of
    from experiments.settings import Config

    odd = Sampling(("H1", "V1"), 1000, 0.128)
    words = format_setting(odd).removeprefix("--set ").split()
    assert observation_of(override(Config, words)).sampling == odd
