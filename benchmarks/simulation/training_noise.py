"""What do other kinds of noise and other populations cost in training samples a second?

All sides are batches of Wave01's `SimulatedDataset`, whitened, drawn in turn in one process: in
noise of the design curves, which the others are compared with, in a family of curves, with
glitches, in recorded strain (invented here, read by memory map), with binaries that a worker
process keeps replacing, and of other populations: distances in place of SNRs, and higher modes,
whose orbital phase is no factor. A timing is of whole pools of signals, so that drawing them is in
it. On a CPU all have one core, and the worker process another.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, interleave, one_core, paired_ratios
from benchmarks.simulation.simulating import batches_of, open_simulated
from configuration.class_with_arguments import Part
from physics.curves import find_curve
from physics.distance_laws import UniformChirpVolume
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION
from runtime.command_line import run_command
from runtime.optional_packages import require
from simulation.glitch_noise import Glitches
from simulation.real_strain import RealStrain

MEMBERS = 20  # curves of a family
FAR = UniformChirpVolume(low=500.0, high=2000.0)  # Mpc
TITLES = {
    "family": "training samples in noise of a family of curves",
    "glitches": "training samples in noise with glitches",
    "real_strain": "training samples in recorded strain",
    "fresh": "training samples of fresh binaries",
    "distances": "training samples of binaries at distances, not of an SNR",
    "higher_modes": "training samples of binaries with higher modes",
}
STRAIN_SECONDS = 600


def write_family(folder: Path) -> Observation:
    """Write curves like the design's on levels of their own; return the observation of them."""
    for detector, name in zip(COMPETITION.detectors, COMPETITION.curves, strict=True):
        curve = find_curve(name, detector)
        (folder / detector).mkdir(parents=True)
        for number in range(MEMBERS):
            table = np.stack([curve.frequencies, curve.amplitudes * (1 + number / MEMBERS)], 1)
            np.savetxt(folder / detector / f"{number:02}.txt", table)
    return dataclasses.replace(COMPETITION, curves=(str(folder),) * COMPETITION.num_detectors)


def write_strain(folder: Path, seconds: int) -> dict[str, str]:
    """Write files of white noise as GWOSC lays them out; return them by detector."""
    h5py, files = require("h5py", "gwosc"), {}
    rng = np.random.default_rng(0)
    for detector in COMPETITION.detectors:
        files[detector] = str(folder / f"{detector}.hdf5")
        with h5py.File(files[detector], "w") as file:
            values = rng.standard_normal(seconds * COMPETITION.sample_rate) * 1e-21
            data = file.create_dataset("strain/Strain", data=values)
            data.attrs["Xspacing"], data.attrs["Xstart"] = 1 / COMPETITION.sample_rate, 0.0
            file["meta/Detector"] = detector
    return files


@torch.no_grad()
def measure(settings: BenchmarkSettings) -> Findings:
    with (
        one_core(settings.device),
        tempfile.TemporaryDirectory(prefix="noise_", dir=settings.folder) as name,
    ):
        return Findings(compare(settings, Path(name)))


def compare(settings: BenchmarkSettings, folder: Path) -> list[Measurement]:
    from configs import Wave01

    batch = settings.choose(cpu=Wave01.batch_size, cuda=1024, quick=4)
    seconds = settings.choose(cpu=STRAIN_SECONDS, cuda=STRAIN_SECONDS, quick=60)
    kinds = {
        "gaussian": {},
        "family": {"observation": write_family(folder / "family")},
        "glitches": {"noise": Part(Glitches)},
        "real_strain": {"noise": Part(RealStrain, files=write_strain(folder, seconds))},
        "fresh": {"fresh": settings.choose(cpu=250, cuda=250, quick=4), "fresh_processes": 1},
        "distances": {"population": dataclasses.replace(COMPETITION_POPULATION, distance=FAR)},
        # A core computes some ten of these waveforms a second. A pool takes as long from any bank.
        "higher_modes": {
            "population": dataclasses.replace(
                COMPETITION_POPULATION, approximant="IMRPhenomXPHM", modes=(22, 21, 33, 32, 44)
            ),
            "bank_size": 16,
        },
    }
    sides: dict[str, Callable[[], None]] = {}
    samples = {}
    for name, changes in kinds.items():
        dataset = open_simulated(Wave01, settings, **changes)
        # A batch takes half as many signals as it has rows.
        steps = max(2 * dataset.pools.size * dataset.pools.reuse // batch, 1)
        endless = batches_of(dataset, batch)

        def draw(endless=endless, steps=steps) -> None:
            for _ in range(steps):
                next(endless)

        sides[name], samples[name] = draw, steps * batch
    rounds = settings.rounds(5)
    times = interleave(sides, settings.device, rounds, settings.least_seconds)
    each = {name: [s / samples[name] for s in seconds] for name, seconds in times.items()}
    cores = "the GPU" if settings.on_gpu else "one core"
    return [
        Measurement(
            f"training_noise.{name}",
            TITLES[name],
            "in Gaussian noise of the design curves",
            paired_ratios(each["gaussian"], each[name]),
            "×",
            True,
            {},
            Spread.of([1 / s for s in each[name]]),
            Spread.of([1 / s for s in each["gaussian"]]),
            "samples/s",
            settings={"batch": batch, "on": cores},
            extra={"rounds": rounds},
        )
        for name in TITLES
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("training_noise", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
