"""Sensitive distance at a false-alarm rate, by the formula of the MLGWSC-1 challenge.

Events of the foreground are matched with injections, events of the background give thresholds, and
the injections that are found above a threshold give the volume in which the search sees mergers
(Schäfer et al., Physical Review D 107, 023021, 2023, section III). The challenge's own script is
`evaluate.py` of github.com/gwastro/ml-mock-data-challenge-1; tests/search/test_sensitivity.py
compares with a second implementation of it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from physics.distance_laws import NEUTRON_STARS, DistanceLaw, UniformChirpVolume, UniformVolume

MONTH = 30 * 86_400  # s; the challenge's data sets are 30 days long
TOLERANCE = 0.3  # s; an event so near to an injection has found it
RATES = (1000.0, 100.0, 10.0, 1.0)  # false alarms a month


# --- events and injections ----------------------------------------------------------------------


@dataclass(frozen=True)
class Events:
    """What a search reports: times and scores.

    Attributes:
        time: (n,) GPS, s.
        score: (n,) the larger, the more significant.
    """

    time: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Injections:
    """What was added to the noise; N is their number.

    Attributes:
        time: (N,) GPS time of the merger at the geocentre, ascending, s.
        mass1, mass2: (N,) in the detector frame, solar masses.
        distance: (N,) luminosity distance, Mpc.
        snr: (N,) optimal network SNR, NaN where it is not known.
    """

    time: np.ndarray
    mass1: np.ndarray
    mass2: np.ndarray
    distance: np.ndarray
    snr: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    @property
    def chirp_mass(self) -> np.ndarray:
        """(m1 m2)^(3/5) / (m1 + m2)^(1/5), (N,) solar masses."""
        return (self.mass1 * self.mass2) ** 0.6 / (self.mass1 + self.mass2) ** 0.2

    @property
    def chirp_distance(self) -> np.ndarray:
        """Distance at which two neutron stars of 1.4 solar masses would be as loud, (N,) Mpc."""
        return self.distance * (NEUTRON_STARS / self.chirp_mass) ** (5 / 6)


def match_events(
    injections: Injections, events: Events, tolerance: float = TOLERANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return how loudly each injection was found, and which events found none.

    As in the challenge, an event belongs to the injection that is nearest in time, and has found
    it if it is no more than the tolerance away. Of several events of one injection the loudest
    counts.

    Args:
        injections: in order of time.
        events: of the foreground, in any order.
        tolerance: s.

    Returns:
        (N,) score of the loudest event of each injection, -inf where there is none; and (n,) bool,
        True for events that belong to none and so are false alarms.
    """
    loudest = np.full(len(injections), -np.inf)
    if not len(injections):
        return loudest, np.ones(len(events), bool)
    after = np.searchsorted(injections.time, events.time)  # the first injection not before
    before = np.clip(after - 1, 0, len(injections) - 1)
    after = np.clip(after, 0, len(injections) - 1)
    later_is_nearer = injections.time[after] - events.time < events.time - injections.time[before]
    nearest = np.where(later_is_nearer, after, before)
    is_found = np.abs(injections.time[nearest] - events.time) <= tolerance
    np.maximum.at(loudest, nearest[is_found], events.score[is_found])
    return loudest, ~is_found


# --- thresholds ---------------------------------------------------------------------------------


class FalseAlarms:
    """The false alarms of a search in strain without signals.

    Args:
        scores: (n,) of all events of the background, in any order.
        seconds: of background that was searched.
        least: the lowest score that was kept; -inf if all were.
    """

    def __init__(self, scores: np.ndarray, seconds: float, least: float = -math.inf) -> None:
        self.falling = np.sort(np.asarray(scores, np.float64))[::-1]
        self.seconds, self.least = seconds, least

    def allowed(self, rate: float) -> int:
        """Return how many events a rate (a month) allows in this background, rounded down."""
        # 1e-9: a rate of 720 in an hour is one event, and a hair less in floating point
        return math.floor(rate * self.seconds / MONTH + 1e-9)

    def threshold_of(self, louder: int) -> float:
        """Return the score that exactly `louder` events exceed; the `least` where that is lower.

        An injection is found if it is louder than the threshold, as an event at the threshold
        itself would be a false alarm too many.
        """
        return float(self.falling[louder]) if louder < len(self.falling) else self.least

    def why_unresolved(self, rate: float) -> str | None:
        """Return why the background gives no threshold for a rate (a month), None if it does."""
        allowed = self.allowed(rate)
        if allowed < 1:
            return f"needs {MONTH / rate / 86_400:.2g} d of background"
        if allowed >= len(self.falling) and self.least > -math.inf:
            return f"fewer events are louder than {self.least:g}, the least that is kept"
        return None


# --- volume -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VolumeLaw:
    """How the injections that are found make a volume: V = largest * mean(weights * found).

    The sensitive volume of a search is that of all space, each place weighted by the probability
    that a merger there is found: V = E[int 4 pi d^2 P(found | d, M) dd], the mean taken over the
    chirp masses M. Injections are drawn with a density p(d | M) of the distance instead, so that

        V = E[4 pi d^2 / p(d | M) * found], the mean over injections.

    Uniform in volume up to D(M), p(d | M) = 3 d^2 / D(M)^3, and what is averaged is the volume
    4/3 pi D(M)^3 of the sphere that the injection was drawn from, if it was found.

    - Uniform in luminosity distance's volume: D is the same for all, and V is its volume times the
      share that is found.
    - Uniform in the volume of the chirp distance d (M_0 / M)^(5/6), which ends at C:
      D(M) = C (M / M_0)^(5/6), so that D(M)^3 = C^3 (M / M_0)^(5/2). With the largest chirp mass
      M_max, and d_max = D(M_max), that is D(M)^3 = d_max^3 (M / M_max)^(5/2):

          V = 4/3 pi d_max^3 mean((M / M_max)^(5/2) found),  the challenge's formula.

    The challenge's injections begin at 130 Mpc of chirp distance and not at 0. Its formula has no
    term for the inner sphere, in which nothing is injected: it scales the shell's share that is
    found to the whole sphere. Where a third of all is found and the inner sphere would be found
    whole, that reads 3 % low in distance, for every search alike; it is kept, to be comparable.

    Attributes:
        largest: 4/3 pi d_max^3, Mpc^3.
        weights: (N,) (M / M_max)^(5/2), or ones.
    """

    largest: float
    weights: np.ndarray

    def volume(self, found: np.ndarray) -> tuple[float, float]:
        """Return the volume and its standard error for which injections are found, Mpc^3.

        The error is that of a mean of N independent numbers, weights * found.

        Args:
            found: (N,) bool.
        """
        terms = self.weights * found
        if not len(terms):
            return 0.0, 0.0
        scale = self.largest
        return scale * float(terms.mean()), scale * float(terms.std()) / math.sqrt(len(terms))


def sphere_volume(radius: float) -> float:
    """Return 4/3 pi r^3."""
    return 4 / 3 * math.pi * radius**3


def sphere_radius(volume: float) -> float:
    """Return the radius of a sphere."""
    return (volume / sphere_volume(1.0)) ** (1 / 3)


def volume_law_of_sample(injections: Injections, by_chirp_distance: bool) -> VolumeLaw:
    """Return the law as the challenge's script has it, with the maxima of the injections' sample.

    The largest distance of a sample, and the largest chirp mass, lie below those of the
    population. Where few injections are both heavy and far, d_max^3 / M_max^(5/2) reads low: by
    10 % in a day of data set 1, by 3 % in a month, and the distance by a third of that.

    Args:
        injections: of the foreground; at least one.
        by_chirp_distance: whether they are uniform in the volume of the chirp distance, and not in
            that of the distance.
    """
    largest, mass = sphere_volume(float(injections.distance.max())), injections.chirp_mass
    if not by_chirp_distance:
        return VolumeLaw(largest, np.ones(len(mass)))
    return VolumeLaw(largest, (mass / mass.max()) ** 2.5)


def volume_law_of_population(injections: Injections, law: DistanceLaw) -> VolumeLaw | None:
    """Return the law with the maxima of the population that the injections were drawn from.

    Only the ratio d_max^3 / M_max^(5/2) enters, which is C^3 / M_0^(5/2) whatever the largest
    mass is: d_max = C and M_max = M_0 do.

    Args:
        injections: of the foreground.
        law: of their distances.

    Returns:
        None for laws that are not uniform in a volume, of which the challenge has no formula.
    """
    if isinstance(law, UniformChirpVolume):
        return VolumeLaw(sphere_volume(law.high), (injections.chirp_mass / NEUTRON_STARS) ** 2.5)
    if isinstance(law, UniformVolume):
        return VolumeLaw(sphere_volume(law.high), np.ones(len(injections)))
    return None


# --- sensitivity at a rate ----------------------------------------------------------------------


@dataclass(frozen=True)
class Distance:
    """A sensitive distance.

    Attributes:
        value: Mpc.
        error: standard error from the number of injections, Mpc.
        low, high: at the thresholds that the Poisson error of the number of background events
            allows, one standard deviation to either side, Mpc.
        volume, volume_error: Mpc^3.
    """

    value: float
    error: float
    low: float
    high: float
    volume: float
    volume_error: float


def sensitive_distance(
    law: VolumeLaw, loudest: np.ndarray, alarms: FalseAlarms, rate: float
) -> Distance:
    """Return the sensitive distance at a false-alarm rate that the background resolves.

    Args:
        law: of the injections.
        loudest: (N,) as `match_events` returns it.
        alarms: of the background.
        rate: false alarms a month.
    """
    allowed = alarms.allowed(rate)

    def radius(louder: int) -> float:
        return sphere_radius(law.volume(loudest > alarms.threshold_of(louder))[0])

    volume, volume_error = law.volume(loudest > alarms.threshold_of(allowed))
    value = sphere_radius(volume)
    # dV = 4 pi r^2 dr, so dr / r = dV / (3 V).
    error = value * volume_error / (3 * volume) if volume else 0.0
    # Above the threshold that is right lies a Poisson number of events, and not `allowed`. Where
    # that number is from n to m, it is lower than the n-th loudest event, which n - 1 exceed, and
    # not lower than the one that m exceed.
    spread = math.sqrt(allowed)
    fewer, more = max(round(allowed - spread) - 1, 0), round(allowed + spread)
    return Distance(value, error, radius(fewer), radius(more), volume, volume_error)


def distance_curve(
    law: VolumeLaw, loudest: np.ndarray, alarms: FalseAlarms, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sensitive distance at every rate that the background resolves.

    Args:
        law: of the injections.
        loudest: (N,) as `match_events` returns it.
        alarms: of the background.
        most: largest rate, a month.

    Returns:
        Rates a month, falling, and distances in Mpc, both (points,).
    """
    louder = np.arange(1, min(alarms.allowed(most) + 1, len(alarms.falling)))[::-1]
    thresholds = alarms.falling[louder]  # rising
    order = np.argsort(loudest)
    # sums of the weights of all that are louder: the total less those up to the threshold
    summed = np.concatenate([[0.0], np.cumsum(law.weights[order])])
    quieter = np.searchsorted(loudest[order], thresholds, side="right")
    volumes = law.largest * (summed[-1] - summed[quieter]) / max(len(loudest), 1)
    return louder * MONTH / alarms.seconds, np.cbrt(volumes / sphere_volume(1.0))


@dataclass(frozen=True)
class Share:
    """How many injections of a range are found.

    Attributes:
        low, high: of the range.
        injections: in it.
        found: of them.
    """

    low: float
    high: float
    injections: int
    found: int

    @property
    def efficiency(self) -> float:
        """The share that is found, NaN where there is none to find."""
        return self.found / self.injections if self.injections else math.nan

    @property
    def error(self) -> float:
        """Standard error of the share: half of Wilson's interval, which is not zero at 0 and 1."""
        n = self.injections
        if not n:
            return math.nan
        p = self.efficiency
        return math.sqrt(p * (1 - p) / n + 1 / (4 * n**2)) / (1 + 1 / n)


def shares_found(values: np.ndarray, found: np.ndarray, edges: np.ndarray) -> list[Share]:
    """Return how many injections are found in each range of a quantity.

    Args:
        values: (N,) of the quantity.
        found: (N,) bool.
        edges: (ranges + 1,) rising; each range holds its lower edge.
    """
    shares = []
    for low, high in itertools.pairwise(edges):
        inside = (values >= low) & (values < high)
        shares.append(
            Share(float(low), float(high), int(inside.sum()), int((inside & found).sum()))
        )
    return shares
