"""Which detectors share weights: by equal curves, none, or by name."""

from __future__ import annotations

import pytest

from models1d.detector_groups import group_channels
from physics.observation import COMPETITION, Observation
from runtime.errors import UserError

FIVE = Observation(("V1", "ET1", "H1", "ET2", "L1"), window=0.25)


@pytest.mark.parametrize(
    ("observation", "share", "groups"),
    [
        (COMPETITION, True, [(0, 1), (2,)]),
        (COMPETITION, False, [(0,), (1,), (2,)]),
        (Observation(("V1",)), True, [(0,)]),
        (FIVE, True, [(0,), (1, 3), (2, 4)]),
        (FIVE, [["L1", "V1"]], [(0, 4), (1,), (2,), (3,)]),
        (FIVE, [["ET2", "ET1"], ["L1", "H1"]], [(0,), (1, 3), (2, 4)]),
        (FIVE, [], [(0,), (1,), (2,), (3,), (4,)]),
    ],
)
def test_groups(observation: Observation, share, groups: list[tuple[int, ...]]) -> None:
    assert group_channels(observation, share) == groups


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ([["H1", "K1"]], "'K1' is no detector of the observation"),
        ([["H1"], ["L1", "H1"]], "'H1' is in two groups"),
        ("H1", "expected true, false or groups"),
        (["H1", "L1"], "expected true, false or groups"),
    ],
)
def test_what_are_no_groups_is_refused(share, message: str) -> None:
    with pytest.raises(UserError, match=message):
        group_channels(COMPETITION, share)
