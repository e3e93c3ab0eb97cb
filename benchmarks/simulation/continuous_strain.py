"""How many times faster than real time is continuous strain simulated?

The first row is the whole of `prep_data.py --simulate_strain` for two detectors on every core:
noise, injections every 24 to 30 s, background and foreground on the disk, its processes started.
The naive way stands beside it: the spectrum of the whole series is drawn and transformed at once,
noise alone, in memory, which grows with the series, and on one core. The second row compares noise
with noise: ours, block by block, against the naive way, both in memory on one core.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, interleave, one_core, paired_ratios
from physics.observation import Observation
from runtime.command_line import run_command
from runtime.machine import num_cores
from simulation.continuous_noise import ContinuousNoise
from simulation.continuous_strain import simulate_strain
from simulation.strain_settings import StrainSettings

RATE, NOISE = "continuous_strain.rate", "continuous_strain.noise"
TARGETS = {RATE: {"cpu": 300.0, "cuda": 300.0}}
OBSERVATION = Observation(("H1", "L1"))


def draw_whole_series(seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise of both detectors, (detector, time) float64, drawn in one spectrum each."""
    rate = OBSERVATION.sample_rate
    size = seconds * rate
    series = []
    for channel in range(OBSERVATION.num_detectors):
        # A bin of N samples has E|X|^2 = S fs N / 2, half of it in each of its parts.
        amplitude = np.sqrt(OBSERVATION.noise(channel).psd_on_grid(size) * rate * size / 4)
        spectrum = rng.standard_normal((len(amplitude), 2)).view(complex)[:, 0] * amplitude
        series.append(np.fft.irfft(spectrum, size))
    return np.stack(series)


def draw_in_blocks(seconds: int) -> None:
    """Draw noise of both detectors block by block."""
    for channel, name in enumerate(OBSERVATION.detectors):
        noise = ContinuousNoise(OBSERVATION.noise(channel), 1, name)
        for number in range(-(-seconds * OBSERVATION.sample_rate // noise.block_size)):
            noise.block(number)


def measure(settings: BenchmarkSettings) -> Findings:
    hours, rounds = settings.choose(cpu=8, cuda=8, quick=1), settings.rounds(5)
    seconds = 128 if settings.quick else 3600 * hours
    whole = 128 if settings.quick else 3600  # of the naive way, which needs memory
    plan = StrainSettings(seconds, OBSERVATION, longest_segment=64 if settings.quick else 4096)
    rng = np.random.default_rng(1)
    workers = 1 if settings.quick else num_cores()

    def ours() -> None:
        with tempfile.TemporaryDirectory(prefix="strain_", dir=settings.folder) as name:
            simulate_strain(Path(name) / "out", plan, workers, show_progress=False)
            shutil.rmtree(Path(name) / "out")

    def naive() -> None:
        draw_whole_series(whole, rng)

    def in_blocks() -> None:
        draw_in_blocks(whole)

    sides = {"ours": ours, "naive": naive}
    commands = interleave(sides, settings.device, rounds, 0.0)
    with one_core(settings.device):
        times = interleave(
            {"blocks": in_blocks, "naive": naive}, settings.device, rounds, settings.least_seconds
        )
    rates = Spread.of([seconds / each for each in commands["ours"]])
    naive_rates = Spread.of([whole / each for each in commands["naive"]])
    per_second = {name: [each / whole for each in values] for name, values in times.items()}
    return Findings(
        [
            Measurement(
                RATE,
                "continuous strain of two detectors, written with injections",
                "one whole-series FFT of noise, in memory",
                rates,
                "× real time",
                True,
                TARGETS[RATE],
                rates,
                naive_rates,
                "× real time",
                settings={"strain": f"{seconds / 3600:g} h", "processes": workers},
                extra={"rounds": rounds},
            ),
            Measurement(
                NOISE,
                "noise of two detectors in blocks",
                "one whole-series FFT of noise, in memory",
                paired_ratios(per_second["naive"], per_second["blocks"]),
                "×",
                True,
                {},
                Spread.of(times["blocks"]),
                Spread.of(times["naive"]),
                settings={"strain": f"{whole / 3600:g} h", "on": "one core"},
                extra={"rounds": rounds},
            ),
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("continuous_strain", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
