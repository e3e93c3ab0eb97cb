"""How much faster are Nspec16's waveform transforms than scipy and numpy a sample at a time?

The training transforms of Nspec16 are `Normalize`, `BandPass` (order 8, 12 to 512 Hz, forwards and
backwards) and `GaussianNoiseSNR`. The published solution did the same in its data set, for one
sample after another, in float64: a division, scipy's `filtfilt` on all detectors, numpy's noise
for each of them. On a CPU both sides have one core.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, check_agreement, interleave, one_core, paired_ratios
from configuration.config_class import ConfigMeta
from experiments.building import build_transforms, observation_of
from physics.constants import TYPICAL_STRAIN
from physics.observation import COMPETITION
from runtime.command_line import run_command

# `filtfilt` of a polynomial of order 16 is itself off by about 1e-3, see filters.zero_phase_filter;
# against scipy's second-order sections the transform is right to 1e-5.
POLYNOMIAL_TOLERANCE = 1e-2
SECTIONS_TOLERANCE = 1e-5
TARGETS = {"cpu": 2.0, "cuda": 50.0}
REASONS: dict[str, str] = {}  # by kind of device


class SampleAtATime:
    """The transforms of a config as the published solution computed them: scipy and numpy.

    Args:
        config: whose training transforms are `Normalize`, `BandPass` and `GaussianNoiseSNR`.
        sections: filter by second-order sections, which is precise, instead of by `filtfilt`.
        rng: of the noise.
    """

    def __init__(
        self, config: ConfigMeta, rng: np.random.Generator, sections: bool = False
    ) -> None:
        from scipy import signal

        normalize, band_pass, noise = (part.build() for part in config.transforms["train"])
        self.factors = normalize.factors.double().numpy()  # (detector, 1)
        self.noise, self.rng = noise, rng
        band = (band_pass.lower, band_pass.upper)
        form = "sos" if sections else "ba"
        self.filter = signal.butter(band_pass.order, band, "bandpass", fs=band_pass.sr, output=form)
        # that of `filtfilt`, which `sosfiltfilt` does not take by itself
        self.padding = 3 * (2 * band_pass.order + 1)
        self.sections = sections

    def prepared(self, x: np.ndarray) -> np.ndarray:
        """Scale and band-pass one sample (detector, time)."""
        from scipy import signal

        x = x / self.factors
        if self.sections:
            return signal.sosfiltfilt(self.filter, x, axis=-1, padlen=self.padding)
        return signal.filtfilt(*self.filter, x, axis=-1)

    def noisy(self, x: np.ndarray) -> np.ndarray:
        """Add noise to some detectors, its peak a given number of dB below the strain's."""
        y = x.copy()
        for channel in range(len(x)):
            if self.rng.random() < self.noise.p:
                level = self.rng.uniform(self.noise.min_snr, self.noise.max_snr)
                white = self.rng.standard_normal(x.shape[1])
                scale = np.abs(x[channel]).max() / 10 ** (level / 20) / np.abs(white).max()
                y[channel] += scale * white
        return y

    def __call__(self, samples: np.ndarray) -> torch.Tensor:
        """Transform samples (n, detector, time) one by one; return them as one float32 batch."""
        done = [self.noisy(self.prepared(sample)).astype(np.float32) for sample in samples]
        return torch.from_numpy(np.stack(done))


def check_filter(config: ConfigMeta, samples: np.ndarray, device: torch.device) -> dict[str, float]:
    """Compare the transforms without the noise, which is random, with both of scipy's filters."""
    x = torch.from_numpy(samples.astype(np.float32)).to(device)
    ours = build_transforms(config.transforms["test"], observation_of(config)).to(device)(x)
    found = {}
    for name, tolerance in (
        ("sosfiltfilt", SECTIONS_TOLERANCE),
        ("filtfilt", POLYNOMIAL_TOLERANCE),
    ):
        reference = SampleAtATime(config, np.random.default_rng(0), name == "sosfiltfilt")
        theirs = np.stack([reference.prepared(sample) for sample in samples])
        what = f"Normalize and BandPass against scipy's {name}"
        found[name] = check_agreement(what, ours, torch.from_numpy(theirs), tolerance)
    return found


@torch.no_grad()
def measure(settings: BenchmarkSettings) -> Findings:
    from configs import Nspec16

    with one_core(settings.device):  # the target is that of one core
        return Findings([compare(settings, Nspec16)])


def compare(settings: BenchmarkSettings, config: ConfigMeta) -> Measurement:
    batch = settings.choose(cpu=config.batch_size, cuda=config.batch_size, quick=2)
    few = settings.choose(cpu=8, cuda=8, quick=1)  # samples in one timing of the slow side
    samples = np.random.default_rng(0).normal(0, TYPICAL_STRAIN, (batch, *COMPETITION.shape))
    differences = check_filter(config, samples[:few], settings.device)
    transforms = build_transforms(config.transforms["train"], observation_of(config)).to(
        settings.device
    )
    x = torch.from_numpy(samples.astype(np.float32)).to(settings.device)
    reference = SampleAtATime(config, np.random.default_rng(1))
    sides = {"ours": lambda: transforms(x), "theirs": lambda: reference(samples[:few])}
    rounds = settings.rounds(25)
    times = interleave(sides, settings.device, rounds, settings.least_seconds)
    ours = [seconds / batch for seconds in times["ours"]]
    theirs = [seconds / few for seconds in times["theirs"]]
    cores = "one core" if not settings.on_gpu else "the GPU, theirs on one core"
    return Measurement(
        "preparation.nspec_16",
        "Normalize, BandPass and noise of Nspec16, a sample",
        "scipy's filtfilt and numpy, a sample at a time",
        paired_ratios(theirs, ours),
        "×",
        True,
        TARGETS,
        Spread.of(ours),
        Spread.of(theirs),
        settings={"batch": batch, "on": cores},
        reason=REASONS.get(settings.device.type),
        extra={"largest_difference": differences, "rounds": rounds},
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("preparation", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
