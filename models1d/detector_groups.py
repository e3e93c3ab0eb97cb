"""Which detectors share weights in a network."""

from __future__ import annotations

from collections.abc import Sequence

from physics.curves import NoiseCurve
from physics.observation import Observation
from runtime.errors import UserError


def group_channels(
    observation: Observation, share: bool | Sequence[Sequence[str]]
) -> list[tuple[int, ...]]:
    """Return the channels that share weights, in the order of the first channel of each group.

    Args:
        observation: the detectors and their noise curves.
        share: True for detectors with the same noise curve, False for none, or groups of detectors'
            names, e.g. [[H1, L1], [ET1, ET2]]; a detector that is in no group shares with none.

    Raises:
        UserError: a group names a detector that the observation does not have or that is in
            another group; or, with True, a curve is not known.
    """
    detectors = observation.detectors
    if isinstance(share, bool):
        groups: dict[NoiseCurve | int, tuple[int, ...]] = {}
        for channel in range(len(detectors)):
            # Curves of the same numbers are equal, whatever their names.
            key = observation.noise_curve(channel) if share else channel
            groups[key] = (*groups.get(key, ()), channel)
        return list(groups.values())
    if isinstance(share, str) or any(isinstance(group, str) for group in share):
        raise UserError(
            f"detectors that share weights: {share!r}: expected true, false or groups, such as "
            f"[[H1,L1]]"
        )
    named = [name for group in share for name in group]
    for name in named:
        if name not in detectors or named.count(name) > 1:
            raise UserError(
                f"detectors that share weights: {name!r} is "
                f"{'in two groups' if name in detectors else 'no detector of the observation'}: "
                f"expected each of {', '.join(detectors)} at most once"
            )
    # Groups in the order of the channels, so that equal settings make equal networks.
    chosen = [tuple(sorted(detectors.index(name) for name in group)) for group in share if group]
    alone = [(channel,) for channel, name in enumerate(detectors) if name not in named]
    return sorted(chosen + alone)
