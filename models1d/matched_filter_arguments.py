"""What `MatchedFilter1d` makes of its arguments: initial amplitudes, the pair, and checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from models1d.strided_correlation import POLYPHASE
from physics.constants import STRAIN_UNIT
from physics.observation import Observation
from runtime.errors import UserError

# Initial a of a detector that sees a binary with at least half of the power that the most sensitive
# one does, and of any other. Found for H1 and L1, and for V1, whose share is 0.41.
SENSITIVE, LESS_SENSITIVE = 0.76, 0.6
INSPIRAL_BAND = (20.0, 1000.0)  # Hz, in which sensitivities are compared


def initial_amplitudes(observation: Observation) -> list[float]:
    """Return the initial a of each detector, by the power with which it sees a binary.

    At the leading order the spectrum of an inspiral falls as f^(-7/6), so that its squared SNR is
    proportional to the integral of f^(-7/3) / S(f).
    """
    low, high = INSPIRAL_BAND
    frequencies = np.arange(
        max(low, observation.min_frequency), min(high, observation.nyquist), 0.25
    )
    powers = []
    for d in range(observation.num_detectors):
        amplitude = observation.noise(d).asd(frequencies) / STRAIN_UNIT
        powers.append((frequencies ** (-7 / 3) / amplitude**2).sum())
    return [SENSITIVE if p >= max(powers) / 2 else LESS_SENSITIVE for p in powers]


def check_shared_curves(observation: Observation, groups: Sequence[Sequence[int]]) -> None:
    """Check that detectors that share filters have the same noise curve.

    Raises:
        UserError: some have not.
    """
    for channels in groups:
        for d in channels[1:]:
            if observation.noise_curve(d) != observation.noise_curve(channels[0]):
                raise UserError(
                    f"MatchedFilter1d: {observation.detectors[channels[0]]} and "
                    f"{observation.detectors[d]} have different noise curves and cannot share "
                    f"filters: set share_filters=true, which groups detectors by their curves"
                )


def find_pair(detectors: Sequence[str], pair: Sequence[str] | None) -> tuple[int, int]:
    """Return the channels of the two detectors whose amplitudes are correlated.

    Raises:
        UserError: there are not two different detectors of these names.
    """
    names = tuple(detectors[:2] if pair is None else pair)
    if len(set(names)) != 2 or len(names) != 2 or not set(names) <= set(detectors):
        raise UserError(
            f"MatchedFilter1d: correlation of the pair {names}: expected two different detectors "
            f"out of {', '.join(detectors)}; without correlation any number will do"
        )
    return detectors.index(names[0]), detectors.index(names[1])


def check_arguments(
    in_channels: int,
    delays: Sequence[float],
    amplitudes: Sequence[float],
    observation: Observation,
    correlation: float | None,
    counts: dict[str, int],
) -> None:
    """Check the arguments of `MatchedFilter1d`.

    Raises:
        UserError: some do not fit together.
    """

    def refuse(what: str) -> NoReturn:
        raise UserError(f"MatchedFilter1d: {what}")

    for name, value in {"in_channels": in_channels, **counts}.items():
        if not isinstance(value, int) or value < 1:
            refuse(f"{name} = {value!r}: expected a whole number of at least 1")
    detectors = observation.detectors
    numbers = {"delays": len(delays), "amplitudes": len(amplitudes), "detectors": len(detectors)}
    if set(numbers.values()) != {in_channels}:
        refuse(f"{numbers}: give each as many as in_channels = {in_channels}")
    if correlation is not None and not (
        type(correlation) in (int, float) and abs(correlation) <= 0.999
    ):
        refuse(
            f"correlation = {correlation!r}: expected a number between -0.999 and 0.999, or None"
        )
    if POLYPHASE % counts["stride"]:
        refuse(f"stride = {counts['stride']}: expected a divisor of {POLYPHASE}")
    if not all(0 < a < 1 for a in amplitudes):
        refuse(f"amplitudes = {tuple(amplitudes)}: expected numbers between 0 and 1")
