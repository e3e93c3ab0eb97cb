"""What merges, where and when: the laws of binaries, of their place and of their loudness.

An experiment has one `Population` (`Config.population`). Its default is the competition's, which
was measured on the competition's samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from configuration.class_with_arguments import Part
from configuration.json_types import to_plain
from physics import prior_files
from physics.distance_laws import DISTANCE_LAWS, DistanceLaw, luminosity_distance, redshift_at
from physics.mass_laws import MASS_LAWS, LogUniformTotalMass, MassLaw
from physics.plain_law import rising_pair
from physics.polarisations import WITHOUT_PRECESSION, check_modes, phase_is_a_factor
from physics.spin_laws import SPIN_LAWS, IsotropicSpins, SpinLaw
from runtime.errors import UserError, check_choice

# What LALSimulation needs of every binary; angles are defined as in bilby.
PARAMETERS = ("mass_1", "mass_2", "a_1", "a_2", "tilt_1", "tilt_2", "phi_12", "phi_jl", "theta_jn")
# What some laws draw with the binary, because it is not independent of it or no factor.
BOUND = ("phase", "luminosity_distance", "ra", "dec", "psi")
FRAMES = ("detector", "source")
ORIENTATIONS = ("isotropic", "face-on")
SKIES = ("amplitude", "isotropic")
LAWS = MASS_LAWS | SPIN_LAWS | DISTANCE_LAWS
# When the merger passes the geocentre, as fractions of the window.
MERGER_FRACTIONS = (0.75, 0.9)
MASSES, SPINS = Part(LogUniformTotalMass), Part(IsotropicSpins)  # the competition's
# The competition's sky is weighted by what each detector's power counts; others count one.
DETECTOR_WEIGHTS = {"V1": 0.33}


@dataclass(frozen=True)
class Population:
    """The laws that signals are drawn from.

    Laws are classes with arguments, which can be named with --set: population.masses=NeutronStars.
    What a prior file states takes the place of the laws.

    Args:
        masses: a law of `physics.mass_laws`.
        spins: a law of `physics.spin_laws`.
        orientation: 'isotropic', or 'face-on'.
        snr: bounds of the network SNR, whose density is proportional to 1 / snr^2; without effect
            where there is a law of distance.
        distance: a law of `physics.distance_laws`, from which the SNR follows; None for a law of
            the SNR, from which the distance follows.
        sky: 'amplitude', isotropic but weighted by the amplitude that the network sees, or
            'isotropic'. None is 'amplitude' with a law of the SNR and 'isotropic' with one of
            distance.
        weights: of the detectors' power in the amplitude; None for the competition's.
        merger: earliest and latest arrival of the merger at the geocentre, s after the window
            begins; None for 3/4 to 9/10 of the window.
        frame: whether masses are those in the 'detector' frame or those at the 'source', which
            are (1 + z) times smaller; that needs a law of distance.
        cosmology: a name of astropy's, for redshifts of laws that have none.
        prior: a prior file of bilby, or expressions of bilby's priors by parameter.
        approximant: a name of LALSimulation's, or of `polarisations.WITH_PYSEOBNR`.
        modes: of the approximant, as two digits l and m, e.g. [22,21,33,32,44]; empty for all.
        min_frequency: at which waveforms begin, Hz.
        reference_frequency: at which spins and phase are defined, Hz.
        longest: no waveform begins earlier before its merger, s. None refuses binaries that the
            window does not hold; see `physics.bank_settings.check_window`.

    Raises:
        UserError: a law or a number that is none, or laws that exclude one another.
    """

    masses: Part | MassLaw = MASSES
    spins: Part | SpinLaw = SPINS
    orientation: str = "isotropic"
    snr: Sequence[float] = (3.7, 27.0)
    distance: Part | DistanceLaw | None = None
    sky: str | None = None
    weights: Sequence[float] | None = None
    merger: Sequence[float] | None = None
    frame: str = "detector"
    cosmology: str = "Planck18"
    prior: str | Mapping | None = None
    approximant: str = "IMRPhenomPv2"
    modes: Sequence[int] = ()
    min_frequency: float = 20.0
    reference_frequency: float = 20.0
    longest: float | None = None

    def __post_init__(self) -> None:
        for name, kind in (("masses", MassLaw), ("spins", SpinLaw), ("distance", DistanceLaw)):
            law = getattr(self, name)
            law = law.build() if isinstance(law, Part) else law
            if not isinstance(law, kind) and not (name == "distance" and law is None):
                raise UserError(f"population.{name} = {law!r}: expected a {kind.__name__}")
            self._assign(name, law)
        check_choice("population", "orientation", self.orientation, ORIENTATIONS)
        check_choice("population", "frame", self.frame, FRAMES)
        check_modes(self.modes)
        self._assign("snr", rising_pair(self, "snr", self.snr))
        self._assign("modes", tuple(self.modes))
        for name in ("merger", "weights"):
            value = getattr(self, name)
            self._assign(name, None if value is None else tuple(float(number) for number in value))
        if self.merger is not None and not (len(self.merger) == 2 and self.merger[0] > 0):
            raise UserError(f"population.merger = {self.merger}: expected two rising times in s")
        self._assign("prior", self._read_prior())
        sky = self.sky or ("isotropic" if self.has_distance else "amplitude")
        check_choice("population", "sky", sky, SKIES)
        self._assign("sky", sky)
        if self.frame == "source" and not self.has_distance:
            raise UserError(
                "population.frame = 'source': a redshift needs a distance, and there is only a law "
                "of the SNR: choose population.distance, or frame = 'detector'"
            )
        for name in ("min_frequency", "reference_frequency", "longest"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"population.{name} = {value}: expected more than 0")
        precesses = isinstance(self.spins, IsotropicSpins) and self.spins.most != 0
        if self.approximant in WITHOUT_PRECESSION and precesses and self.prior is None:
            raise UserError(
                f"population.approximant = {self.approximant} has no precession: choose "
                f"population.spins = NoSpins or AlignedSpins, or an approximant such as "
                f"IMRPhenomXPHM"
            )

    def _assign(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # as a frozen dataclass assigns to itself

    def _read_prior(self) -> tuple[tuple[str, str], ...] | None:
        """Return the priors as (name, expression), so that the file may change afterwards.

        Raises:
            UserError: a file that cannot be read, an unknown name, or an expression that is none.
        """
        prior = self.prior
        if prior is None or isinstance(prior, tuple):
            return prior
        expressions = prior_files.read_prior_file(prior) if isinstance(prior, str) else prior
        expressions = {name: str(text) for name, text in expressions.items()}
        prior_files.check_names(expressions)
        for name, text in expressions.items():
            prior_files.build_prior(name, text)
        return tuple(expressions.items())

    # --- what follows from the laws --------------------------------------------------------------

    def prior_states(self, *names: str) -> bool:
        """Return whether the prior has one of these parameters."""
        return self.prior is not None and any(name in dict(self.prior) for name in names)

    @property
    def has_distance(self) -> bool:
        """Whether distances are drawn, and SNRs follow from them."""
        return self.distance is not None or self.prior_states(*prior_files.DISTANCES)

    @property
    def binds_distance(self) -> bool:
        """Whether a distance belongs to its binary, so that it cannot be drawn anew."""
        if not self.has_distance:
            return False
        from_prior = self.prior_states(*prior_files.DISTANCES)
        return from_prior or self.frame == "source" or self.distance.by_redshift

    @property
    def phase_is_a_factor(self) -> bool:
        """Whether the orbital phase can be drawn anew each time a waveform is used."""
        return (
            phase_is_a_factor(self.approximant, self.modes) and "phase" not in self.bound_directions
        )

    @property
    def bound_directions(self) -> tuple[str, ...]:
        """Directions and phase whose priors are not isotropic, so that they go with the binary."""
        return tuple(
            name
            for name, text in self.prior or ()
            if name in prior_files.PLACE and not prior_files.is_isotropic(name, text)
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what is drawn with each binary, `PARAMETERS` first."""
        bound = set(self.bound_directions)
        if not self.phase_is_a_factor:
            bound.add("phase")
        if self.binds_distance:
            bound.add("luminosity_distance")
        return (*PARAMETERS, *(name for name in BOUND if name in bound))

    def of_binaries(self) -> Population:
        """Return the population with defaults for all that is not drawn with the binaries.

        Populations of which these are the same share a waveform bank.
        """
        placed = ["snr", "sky", "weights", "merger"]
        if not self.binds_distance:
            placed.append("distance")
        return replace(self, **{f.name: f.default for f in fields(self) if f.name in placed})

    def merger_range(self, window: float) -> tuple[float, float]:
        """Return the earliest and latest arrival at the geocentre, s after the window begins.

        Args:
            window: s.

        Raises:
            UserError: the range does not lie in the window.
        """
        low, high = self.merger or (fraction * window for fraction in MERGER_FRACTIONS)
        if not 0 < low <= high < window:
            raise UserError(
                f"population.merger = {low:g}, {high:g} s: expected two rising times within the "
                f"window of {window:g} s"
            )
        return low, high

    def middle_arrival(self, window: float) -> float:
        """Return the middle of the arrival times at the geocentre, s after the window begins.

        Args:
            window: s.

        Raises:
            UserError: the range does not lie in the window.
        """
        return sum(self.merger_range(window)) / 2

    def detector_weights(self, detectors: Sequence[str]) -> tuple[float, ...]:
        """Return the weights of the detectors' power, in their order.

        Raises:
            UserError: `weights` are of another number of detectors.
        """
        if self.weights is None:
            return tuple(DETECTOR_WEIGHTS.get(name, 1.0) for name in detectors)
        if len(self.weights) != len(detectors):
            raise UserError(
                f"population.weights = {list(self.weights)}: expected one number for each of "
                f"{', '.join(detectors)}"
            )
        return self.weights

    # --- draws -----------------------------------------------------------------------------------

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw binaries.

        Returns:
            Arrays (count,) by bilby's names: `PARAMETERS`, masses in the detector frame; the
            luminosity distance in Mpc where there is a law of it; and those of phase, ra, dec and
            psi that are drawn with the binary.
        """
        drawn: dict[str, np.ndarray] = {}
        if self.prior is not None:
            drawn = prior_files.draw_from_priors(self.prior, count, rng)
        if not self.prior_states(*prior_files.MASSES):
            drawn["mass_1"], drawn["mass_2"] = self.masses.draw(count, rng)
        if not self.prior_states(*prior_files.SPINS):
            drawn |= self.spins.draw(count, rng)
        if not self.prior_states(*prior_files.ORIENTATION):
            drawn["theta_jn"] = np.arccos(rng.uniform(-1, 1, count))
            if self.orientation == "face-on":
                drawn["theta_jn"] = np.zeros(count)
        missing = [name for name in PARAMETERS if name not in drawn]
        if missing:
            raise UserError(
                f"population.prior: {', '.join(missing)} do not follow from the priors: state "
                f"both masses, all spins, or none of them"
            )
        self._draw_distances(drawn, count, rng)
        if not self.phase_is_a_factor and "phase" not in self.bound_directions:
            drawn["phase"] = rng.uniform(0, math.tau, count)
        kept = {*self.columns} | ({"luminosity_distance"} if self.has_distance else set())
        return {name: drawn[name] for name in (*PARAMETERS, *BOUND) if name in kept}

    def _draw_distances(
        self, drawn: dict[str, np.ndarray], count: int, rng: np.random.Generator
    ) -> None:
        """Add distances, and bring masses into the detector frame."""
        if self.prior_states(*prior_files.DISTANCES):
            distance = drawn["luminosity_distance"]
            redshift = redshift_at(distance, self.cosmology) if self.frame == "source" else None
        elif self.distance is None:
            return
        elif self.distance.by_redshift:
            redshift = self.distance.draw_redshift(rng.uniform(size=count))
            distance = luminosity_distance(redshift, self.distance.cosmology)
        else:
            mass = chirp_mass(drawn["mass_1"], drawn["mass_2"])
            distance = self.distance.distance(rng.uniform(size=count), mass)
            redshift = redshift_at(distance, self.cosmology) if self.frame == "source" else None
        drawn["luminosity_distance"] = distance
        if self.frame == "source":
            drawn["mass_1"] = drawn["mass_1"] * (1 + redshift)
            drawn["mass_2"] = drawn["mass_2"] * (1 + redshift)

    def draw_injections(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw binaries with all that places them on the sky; see `draw`.

        ra, dec, psi and phase are isotropic where no prior says otherwise. Without a law of
        distance there is "network_snr" instead, to which a signal is then scaled.
        """
        drawn = self.draw(count, rng)
        places = {
            "ra": rng.uniform(0, math.tau, count),
            "dec": np.arcsin(rng.uniform(-1, 1, count)),
            "psi": rng.uniform(0, math.pi, count),
            "phase": rng.uniform(0, math.tau, count),
        }
        if not self.has_distance:
            # With a density of 1 / snr^2, 1 / snr is uniform.
            places["network_snr"] = 1 / rng.uniform(1 / self.snr[1], 1 / self.snr[0], count)
        return places | drawn

    # --- as JSON ---------------------------------------------------------------------------------

    def placement(self, window: float, detectors: Sequence[str]) -> dict[str, Any]:
        """Return how signals are placed, in JSON's own types; see `of_binaries` for what they are.

        Args:
            window: s.
            detectors: their names.
        """
        placed = {
            "snr": self.snr,
            "merger": self.merger_range(window),
            "weights": self.detector_weights(detectors),
        }
        # What the competition has not is left out, so that records of older versions stay valid.
        if self.sky != "amplitude":
            placed["sky"] = self.sky
        if self.distance is not None:
            placed["distance"] = self.distance
        return to_plain(placed)

    def to_plain(self) -> dict[str, Any]:
        """Return all fields in JSON's own types; a prior file as its expressions."""
        plain = {field.name: to_plain(getattr(self, field.name)) for field in fields(self)}
        return plain | {"prior": None if self.prior is None else dict(self.prior)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Population:
        """Return the population that `to_plain` described.

        Raises:
            UserError: it is damaged.
        """
        try:
            values = {key: law_of(value) for key, value in plain.items() if key != "class"}
            return cls(**values)
        except (TypeError, AttributeError, KeyError) as error:
            raise UserError(f"{plain!r} is no population ({error})") from error


def law_of(value: Any) -> Any:
    """Return the law that a mapping with a class describes; anything else as it is."""
    if isinstance(value, Mapping) and "class" in value:
        return LAWS[value["class"]](**{k: v for k, v in value.items() if k != "class"})
    return value


def chirp_mass(mass_1: Any, mass_2: Any) -> Any:
    """Return the chirp mass (m1 m2)^(3/5) / (m1 + m2)^(1/5) in the unit of the masses."""
    return (mass_1 * mass_2) ** 0.6 / (mass_1 + mass_2) ** 0.2


COMPETITION_POPULATION = Population()
