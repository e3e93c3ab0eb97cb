"""Strain files as GWOSC lays them out, with invented content, for the tests of the search."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from competition import noise_of

from data.recording import Recording
from data.strain_files import open_recordings

START = 1_200_000_000  # GPS, s


def coloured_noise(detector: str, seconds: int, rate: int = 4096, seed: int = 0) -> np.ndarray:
    """Return noise of the design curve with the wall below 10 Hz that real strain has.

    Returns:
        (seconds * rate,) float64 strain.
    """
    rng = np.random.default_rng(seed)
    size = seconds * rate
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    amplitude = noise_of(detector).asd(np.clip(frequencies, 10, 1024))
    amplitude *= np.minimum(np.maximum(frequencies, 0.5) / 10, 1) ** -3.0
    parts = rng.standard_normal((2, len(frequencies)))
    spectrum = (parts[0] + 1j * parts[1]) * amplitude * np.sqrt(rate * size / 4)
    return np.fft.irfft(spectrum, size)


def chirp(seconds: int, merger: float, rate: int = 4096, amplitude: float = 1e-21) -> np.ndarray:
    """Return a Newtonian chirp of 25 solar masses of chirp mass that ends at `merger` seconds."""
    mass = 25 * 4.925e-6  # s
    left = merger - np.arange(seconds * rate) / rate  # s before the merger
    inside = (left > 1e-3) & (left < 2)
    tau = np.where(inside, left, 1.0)
    phase = -2 * (tau / (5 * mass)) ** (5 / 8)
    return np.where(inside, amplitude * (tau / 0.02) ** -0.25 * np.cos(phase), 0.0)


def write_strain(
    path: Path, detector: str, strain: np.ndarray, rate: int = 4096, start: float = START, **options
) -> Path:
    """Write strain (samples,) as a file of GWOSC."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("strain/Strain", data=strain, **options)
        data.attrs["Xspacing"], data.attrs["Xstart"] = 1 / rate, start
        file["meta/Detector"] = detector
        file["meta/GPSstart"] = int(start)
    return path


def open_strain(path: Path, detector: str = "H1") -> Recording:
    """Open a file as the strain of one detector."""
    return open_recordings([f"{detector}={path}"])[detector]
