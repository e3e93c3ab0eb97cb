"""How much faster are whole stretches of strain searched than windows, and with what difference?

The filter bank of an experiment, untrained, on simulated noise of two detectors with no signals.
The engine whitens and filters a stretch and combines the detectors in the blocks where that can
matter. The other side whitens windows every 0.1 s, each by the exact matrix, and shows them to the
network. The matrices, seconds for each PSD, are made before anything is timed. Both score the same
windows once more, for the largest difference between their scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, interleave, paired_ratios
from data.strain_conditioning import measure_psd
from data.tracked_psds import TrackedPSD
from experiments.building import build_model, observation_of
from models1d import MatchedFilter1d
from physics.observation import Observation
from runtime.command_line import run_command
from search.bank_statistics import LikelihoodRatio
from search.conditioned_stretch import ConditionedStretch
from search.conditioning import make_design_noise
from search.filter_bank_scorer import FilterBankScorer
from search.spectral_whitening import deviation_of_noise, robust_scale
from search.stretches import Stretch
from transforms import Whiten

STEP = 0.1  # s, between windows
LEAST = 5.0  # score of a peak
DECIMATE = 2
DETECTORS = ("H1", "L1")


def simulate_stretch(observation: Observation, seconds: int) -> ConditionedStretch:
    """Return noise of the design curves, with the PSD that is measured in it."""
    samples, strain, psds = seconds * observation.sample_rate, {}, {}
    for number, name in enumerate(DETECTORS):
        strain[name] = make_design_noise(name, samples, np.random.default_rng(number), observation)
        psds[name] = [TrackedPSD(0.0, float(seconds), measure_psd(strain[name], observation))]
    usable = {name: np.ones(samples, bool) for name in DETECTORS}
    stretch = Stretch(0, 0.0, float(seconds), DETECTORS)
    return ConditionedStretch(stretch, observation, strain, usable, psds)


class WindowsOfNetwork:
    """Scores windows of a stretch with a network, as `Whiten` shows them to it.

    Args:
        network: a filter bank.
        stretch: all detectors of the network.
        device: to compute on.
    """

    def __init__(
        self, network: MatchedFilter1d, stretch: ConditionedStretch, device: torch.device
    ) -> None:
        self.network, self.stretch, self.device = network, stretch, device
        psds = [stretch.psds[name][0].power for name in DETECTORS]
        observation = stretch.observation
        self.whiten = Whiten(psds=psds, unit=1.0, decimate=DECIMATE, observation=observation)
        self.scale = torch.ones(len(DETECTORS), 1, device=device)
        size = observation.num_samples
        some = np.arange(0, len(stretch.strain[DETECTORS[0]]) - size, size)
        white = self.whitened(some).cpu().numpy()
        unit = deviation_of_noise(observation, DECIMATE)
        scales = [robust_scale(white[:, d].ravel()) / unit for d in range(len(DETECTORS))]
        self.scale = torch.tensor(scales, device=device)[:, None]

    def whitened(self, starts: np.ndarray) -> torch.Tensor:
        """Return whitened windows that begin at some samples, (windows, D, time)."""
        size = self.stretch.observation.num_samples
        rows = [
            np.lib.stride_tricks.sliding_window_view(self.stretch.strain[name], size)[starts]
            for name in DETECTORS
        ]
        windows = torch.from_numpy(np.stack(rows, axis=1)).to(self.device)
        return self.whiten(windows) / self.scale

    @torch.inference_mode()
    def scores(self, starts: np.ndarray) -> np.ndarray:
        """Return the scores of windows that begin at some samples."""
        parts = [starts[first : first + 64] for first in range(0, len(starts), 64)]
        logits = [self.network(self.whitened(part))[:, 0].cpu().numpy() for part in parts]
        return np.concatenate(logits)


def measure(settings: BenchmarkSettings) -> Findings:
    from configs import Mdc1

    seconds = settings.choose(cpu=3600, cuda=3600, quick=20)
    observation = observation_of(Mdc1)
    network = build_model(Mdc1, pretrained=not settings.quick).eval().to(settings.device)
    stretch = simulate_stretch(observation, seconds)
    statistic = LikelihoodRatio(network, range(len(DETECTORS)))
    scorer = FilterBankScorer([statistic], observation, DECIMATE, settings.device)
    windows = WindowsOfNetwork(network, stretch, settings.device)
    tick = DECIMATE * network.stride  # samples
    samples = seconds * observation.sample_rate
    # Windows that begin at a tick, so that both sides read the same arrival times.
    starts = np.arange(0, samples - observation.num_samples, STEP * observation.sample_rate)
    starts = (starts / tick).round().astype(np.int64) * tick
    centres = starts // tick + network.grid.first + network.grid.num_times // 2
    found: dict[str, int] = {}

    def engine() -> None:
        scorer.prepare(stretch)
        found["peaks"] = len(scorer.peaks({}, LEAST))

    def engine_slide() -> None:
        scorer.peaks({DETECTORS[1]: 5.0}, LEAST)

    def by_windows() -> None:
        windows.scores(starts)

    rounds = settings.rounds(3)
    sides = {"engine": engine, "slide": engine_slide, "windows": by_windows}
    times = interleave(sides, settings.device, rounds, settings.least_seconds, warm_up=1)
    ours, theirs = scorer.window_scores(centres, {}), windows.scores(starts)
    # In windows at the very ends the engine uses what lies beyond them, or less than they have.
    inner = slice(2 * len(starts) // seconds, -2 * len(starts) // seconds)
    difference = float(np.abs(ours - theirs)[inner].max())
    an_hour = {name: [each * 3600 / seconds for each in values] for name, values in times.items()}
    common = {"strain": f"{seconds} s", "bank": "Mdc1, untrained", "detectors": 2}
    extra = {"rounds": rounds, "peaks": found["peaks"], "largest difference": difference}
    title = "an hour of two detectors by the engine"
    rows = [
        Measurement(
            f"engine.{name}",
            what,
            "windows every 0.1 s",
            paired_ratios(an_hour["windows"], an_hour[side]),
            "×",
            True,
            {},
            Spread.of(an_hour[side]),
            Spread.of(an_hour["windows"]),
            settings=common,
            extra=extra,
        )
        for name, side, what in (
            ("zero_lag", "engine", title),
            ("slide", "slide", "a further time slide of it"),
        )
    ]
    line = f"{difference:.3f} over {len(starts)} windows, whose scores reach {theirs.max():.2f}"
    return Findings(rows, {"Largest difference in score between engine and windows": [line]})


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("engine", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
