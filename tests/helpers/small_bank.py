"""A small filter bank of chirps, and stretches of strain for it."""

from __future__ import annotations

import numpy as np
import torch

from data.tracked_psds import TrackedPSD
from models1d import MatchedFilter1d
from models1d.template_components import orthonormalised
from physics.observation import Observation
from search.conditioned_stretch import ConditionedStretch
from search.stretches import Stretch

PAIR = Observation(("H1", "L1"), sample_rate=1024, window=1.0, min_frequency=20.0)
BEFORE, AFTER = 0.125, 0.03125  # s, of a filter
FREQUENCIES = (60.0, 90.0, 120.0, 150.0)  # Hz, of the templates


def chirp(time: np.ndarray, frequency: float, phase: float = 0.0) -> np.ndarray:
    """Return a chirp of about unit norm at 512 Hz that ends at time 0 s, at any times."""
    envelope = np.exp(-(((time + 0.03) / 0.02) ** 2))
    wave = np.cos(2 * np.pi * frequency * (1 + 2 * time) * time + phase)
    return envelope * wave / 2.53


def chirp_network(
    observation: Observation = PAIR,
    correlation: float | None = -0.6,
    components: int = 1,
    **options,
) -> MatchedFilter1d:
    """Return a network whose templates are chirps, for strain decimated to half the rate.

    With two components there are half as many templates, each of two chirps.
    """
    torch.manual_seed(0)
    network = MatchedFilter1d(
        templates=len(FREQUENCIES) // components,
        components=components,
        basis=8,
        before=BEFORE,
        after=AFTER,
        stride=2,
        correlation=correlation,
        bank_size=8,
        observation=observation,
        **options,
    )
    rate = observation.sample_rate / 2
    times = np.arange(-network.before, network.after) / rate
    # (template, 2, samples): cosine and sine, orthonormal but for a thousandth
    rows = np.array([[chirp(times, f), chirp(times, f, np.pi / 2)] for f in FREQUENCIES])
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    basis = np.linalg.svd(rows.reshape(8, -1), full_matrices=False)[2]
    combinations = torch.from_numpy(rows @ basis.T).float()
    if components > 1:
        # (template x K, 2, basis) -> (template, 2 K, basis)
        combinations = orthonormalised(combinations.reshape(-1, 2 * components, 8))
        network.shares.copy_(torch.tensor([[1.0, 0.3], [1.0, 0.05]]))
    with torch.no_grad():
        network.filters.copy_(torch.from_numpy(basis).float().expand_as(network.filters))
        network.templates.copy_(combinations)
        network.prior.copy_(torch.tensor([0.3, -0.2, 0.1, 0.0][: len(network.prior)]))
        for log_k in network.delay:
            log_k.copy_(torch.linspace(-0.5, 0.5, len(log_k)))
    return network.eval()


def white_stretch(
    strain: dict[str, np.ndarray], observation: Observation = PAIR, start: float = 1000.0
) -> ConditionedStretch:
    """Return a stretch of strain whose noise is white, with unit variance."""
    size = len(next(iter(strain.values())))
    rate = observation.sample_rate
    flat = np.full(observation.num_samples + 1, 2 / rate)
    names = tuple(name for name in observation.detectors if name in strain)
    return ConditionedStretch(
        Stretch(0, start, start + size / rate, names),
        observation,
        {name: strain[name].astype(np.float32) for name in names},
        {name: np.ones(size, bool) for name in names},
        {name: [TrackedPSD(start, start + size / rate, flat)] for name in names},
    )


def noise_and_chirps(
    seconds: int,
    chirps: list[tuple[float, float, float]],
    observation: Observation = PAIR,
    seed: int = 0,
    noise: float = 1.0,
    delay: float = 0.004,
) -> dict[str, np.ndarray]:
    """Return white strain of every detector with chirps in it.

    Args:
        seconds: of strain.
        chirps: time in s, SNR in each detector and frequency in Hz of each.
        observation: detectors and rate.
        seed: of the noise.
        noise: its standard deviation.
        delay: s, by which chirps reach each further detector later, with the opposite sign.
    """
    rng, rate = np.random.default_rng(seed), observation.sample_rate
    times = np.arange(seconds * rate) / rate
    strain = {}
    for place, name in enumerate(observation.detectors):
        x = noise * rng.standard_normal(len(times))
        for time, snr, frequency in chirps:
            # At twice the rate of the bank a chirp has twice its squared norm.
            x += snr / np.sqrt(2) * (-1) ** place * chirp(times - time - place * delay, frequency)
        strain[name] = x
    return strain
