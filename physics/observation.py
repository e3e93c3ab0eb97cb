"""What is observed: which detectors, how often sampled, for how long, in which noise.

An experiment has one `Observation` (`Config.observation`), and files, caches, transforms, networks,
simulation and search take their shapes, rates and curves from it. The default is that of the
competition: nothing else in the project knows its numbers.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from physics.curves import DetectorNoise, NoiseCurve, find_curve
from physics.sites import find_site
from runtime.errors import UserError

SHORTEST_WINDOW = 16  # samples


class Sampling(NamedTuple):
    """What a sample of strain is, whatever the noise is: the part of an observation files share.

    Attributes:
        detectors: names, in the order of the channels.
        sample_rate: Hz.
        window: s.
    """

    detectors: tuple[str, ...]
    sample_rate: int
    window: float

    @property
    def shape(self) -> tuple[int, int]:
        """(detector, time) of the strain of one sample."""
        return len(self.detectors), round(self.sample_rate * self.window)

    def __str__(self) -> str:
        return f"{' '.join(self.detectors)} at {self.sample_rate} Hz, {self.window:g} s"

    def to_plain(self) -> dict[str, Any]:
        """Return all fields in JSON's own types."""
        return {**self._asdict(), "detectors": list(self.detectors)}

    @classmethod
    def from_plain(cls, plain: Any) -> Sampling:
        """Return the sampling that `to_plain` described; further keys are left out.

        Raises:
            UserError: it is damaged.
        """
        try:
            return cls(
                tuple(map(str, plain["detectors"])),
                int(plain["sample_rate"]),
                float(plain["window"]),
            )
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise UserError(
                f"{plain!r} does not say detectors, sample_rate and window ({error})"
            ) from error


@dataclass(frozen=True)
class Observation:
    """Which detectors are read, at what rate, in windows of what length, and their noise.

    Args:
        detectors: names out of `physics.sites.SITES`; the order is that of the channels.
        sample_rate: Hz.
        window: s; an even number of samples.
        min_frequency: Hz, below which there is no noise and nothing is seen.
        curves: a noise curve for all detectors, or one for each, by names, files or folders (see
            `physics.curves`). None takes each detector's own (`Site.curve`).

    Raises:
        UserError: a detector or curve that is not known, a detector named twice, numbers out of
            their range, or a curve that ends below half the sampling rate.
    """

    detectors: Sequence[str] = ("H1", "L1", "V1")
    sample_rate: int = 2048
    window: float = 2.0
    min_frequency: float = 10.0
    curves: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        names = self.detectors
        if isinstance(names, str) or not names or len(set(names)) < len(names):
            raise UserError(
                f"observation: detectors = {names!r}: expected one or more different names, such "
                f"as [H1,L1]"
            )
        sites = [find_site(name) for name in names]
        if self.sample_rate < 1 or self.sample_rate != int(self.sample_rate):
            raise UserError(
                f"observation: sample_rate = {self.sample_rate}: expected a whole number of Hz"
            )
        samples = self.sample_rate * self.window
        if samples < SHORTEST_WINDOW or samples % 2:
            raise UserError(
                f"observation: window = {self.window:g} s at {self.sample_rate} Hz is "
                f"{samples:g} samples: expected an even number, {SHORTEST_WINDOW} or more"
            )
        if not 0 < self.min_frequency < self.sample_rate / 2:
            raise UserError(
                f"observation: min_frequency = {self.min_frequency:g} Hz: expected more than 0 and "
                f"less than half the sampling rate, {self.sample_rate / 2:g} Hz"
            )
        curves = self.curves
        if curves is None:
            curves = [site.curve for site in sites]
        elif isinstance(curves, str):
            curves = [curves] * len(names)
        elif len(curves) != len(names):
            raise UserError(
                f"observation: {len(curves)} curves for {len(names)} detectors: give one for all, "
                f"or one for each"
            )
        # A frozen dataclass assigns to itself in this way.
        object.__setattr__(self, "detectors", tuple(names))
        object.__setattr__(self, "sample_rate", int(self.sample_rate))
        object.__setattr__(self, "window", float(self.window))
        object.__setattr__(self, "min_frequency", float(self.min_frequency))
        object.__setattr__(self, "curves", tuple(curves))

    @property
    def num_samples(self) -> int:
        """Samples of a window."""
        return round(self.sample_rate * self.window)

    @property
    def num_detectors(self) -> int:
        """Channels of a sample."""
        return len(self.detectors)

    @property
    def shape(self) -> tuple[int, int]:
        """(detector, time) of the strain of one sample."""
        return self.num_detectors, self.num_samples

    @property
    def nyquist(self) -> float:
        """Half the sampling rate, Hz."""
        return self.sample_rate / 2

    def noise_curve(self, channel: int) -> NoiseCurve:
        """Return the noise curve of a channel.

        Raises:
            UserError: it is not known, is damaged, or ends below half the sampling rate.
        """
        curve = find_curve(self.curves[channel], self.detectors[channel])
        for member in curve.members or (curve,):
            if member.end < self.nyquist:
                raise UserError(
                    f"the noise curve {member.name} of {self.detectors[channel]} ends at "
                    f"{member.end:g} Hz, below half the sampling rate of {self.sample_rate} Hz: "
                    f"name another with observation.curves, or sample at {2 * member.end:g} Hz or "
                    f"less"
                )
        return curve

    def noise(self, channel: int) -> DetectorNoise:
        """Return the noise of a channel; see `noise_curve`."""
        curve = self.noise_curve(channel)
        return DetectorNoise(curve, float(self.sample_rate), self.min_frequency)

    def alike_pairs(self) -> list[tuple[int, int]]:
        """Return the pairs of channels whose noise curves are the same, the first ones first.

        Raises:
            UserError: a curve is not known or is damaged.
        """
        digests = [self.noise_curve(channel).digest for channel in range(self.num_detectors)]
        return [
            (one, two)
            for one, two in itertools.combinations(range(self.num_detectors), 2)
            if digests[one] == digests[two]
        ]

    @property
    def sampling(self) -> Sampling:
        """Detectors, sampling rate (Hz) and window (s), which decide what a sample is."""
        return Sampling(tuple(self.detectors), self.sample_rate, self.window)

    @property
    def digest(self) -> str:
        """A digest of all that it says, of a curve's numbers rather than of its name."""
        curves = [self.noise_curve(channel).digest for channel in range(self.num_detectors)]
        text = repr((*self.sampling, self.min_frequency, curves))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def __str__(self) -> str:
        return str(self.sampling)

    def to_plain(self) -> dict[str, Any]:
        """Return all fields in JSON's own types."""
        return {
            "detectors": list(self.detectors),
            "sample_rate": self.sample_rate,
            "window": self.window,
            "min_frequency": self.min_frequency,
            "curves": list(self.curves),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Observation:
        """Return the observation that `to_plain` described.

        Raises:
            UserError: it is damaged.
        """
        try:
            return cls(**{key: value for key, value in plain.items() if key != "class"})
        except (TypeError, AttributeError) as error:
            raise UserError(f"{plain!r} is no observation ({error})") from error


COMPETITION = Observation()  # of Kaggle's G2Net challenge, 2021
