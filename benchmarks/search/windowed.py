"""How much faster are networks of windows searched where their first part runs over stretches?

Networks with drawn weights on simulated noise of the detectors, a window about every 0.1 s. Ours:
the search's scorer, from conditioned strain to the scores of all windows, and once more for a time
slide. The other side whitens every window by its exact matrix and shows it to the same network; for
a time slide it shows whitened windows that were kept and are put together already. The matrices,
ten seconds a detector and stretch, are made before anything is timed. Times are of an hour of
strain; ours has up to a tenth more windows or fewer, to be whole columns apart. The largest
difference in score between a front over the stretch and the network on windows of the same whitened
strain is given beside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, interleave, paired_ratios
from configuration.config_class import ConfigMeta
from data.tracked_psds import TrackedPSD
from experiments.building import build_model, build_transforms, observation_of
from models1d import CNN1d, ResNet1d
from models1d.classifier import WaveformClassifier
from physics.constants import STRAIN_UNIT
from runtime.command_line import run_command
from search.conditioned_stretch import ConditionedStretch
from search.conditioning import make_design_noise, noise_of
from search.stretches import Stretch
from search.window_scorer import WindowScorer
from search.windowed_scorer import WindowedScorer

STEP = 0.1  # s, between windows
SHIFT = 5.0  # s, of the second detector
BATCH = 256
# What a network is called here, the experiment whose strain it sees, and its class, as it is by
# default, if it is not the experiment's own.
NETWORKS: dict[str, tuple[str, type[WaveformClassifier] | None]] = {
    "branches": ("Wave01", None),
    "wavelets": ("Spec01", None),
    "learnt_front_end": ("Spec02", None),
    "cnn1d": ("Wave01", CNN1d),
    "resnet1d": ("Wave01", ResNet1d),
}


def make_config(experiment: ConfigMeta, model: type[WaveformClassifier] | None) -> ConfigMeta:
    """Return an experiment, with another network if one is given."""
    if model is None:
        return experiment
    changed = {"model": model, "model_params": {}}
    return ConfigMeta(model.__name__, (experiment,), changed, register=False)


def simulate_stretch(config: ConfigMeta, seconds: int) -> ConditionedStretch:
    """Return noise of the detectors' curves, whose PSDs are known."""
    observation = observation_of(config)
    names, samples = observation.detectors, seconds * observation.sample_rate
    strain, psds = {}, {}
    for number, name in enumerate(names):
        strain[name] = make_design_noise(name, samples, np.random.default_rng(number), observation)
        power = noise_of(name, observation).psd_on_grid(2 * observation.num_samples, floor=1.0)
        psds[name] = [TrackedPSD(0.0, float(seconds), power)]
    usable = {name: np.ones(samples, bool) for name in names}
    stretch = Stretch(0, 0.0, float(seconds), names)
    return ConditionedStretch(stretch, observation, strain, usable, psds)


class WindowsOfNetwork:
    """Scores windows one by one, as the config's transforms show them to its network."""

    def __init__(
        self, config: ConfigMeta, scorer: WindowScorer, stretch: ConditionedStretch
    ) -> None:
        self.scorer, observation = scorer, observation_of(config)
        chain = build_transforms(config.transforms["test"], observation).to(scorer.device)
        size, rate = observation.num_samples, observation.sample_rate
        rows = np.stack([stretch.strain[name] for name in observation.detectors])
        self.views = np.lib.stride_tricks.sliding_window_view(rows, size, axis=1)
        self.starts = np.arange(0, self.views.shape[1], round(STEP * rate))
        self.whiten = chain
        parts = [self.whitened(part) for part in self.batches()]
        self.slid = torch.cat(parts)  # what a time slide shows
        self.slid[:, 1] = self.slid[:, 1].roll(round(SHIFT / STEP), 0)
        # The search leaves out those that are cut through where the ring of a slide is closed.
        self.slid = self.slid[: -round(observation.window / STEP)]

    def batches(self) -> list[np.ndarray]:
        """Return the starts of the windows in batches."""
        return np.split(self.starts, range(BATCH, len(self.starts), BATCH))

    @torch.inference_mode()
    def whitened(self, starts: np.ndarray) -> torch.Tensor:
        """Return whitened windows, (windows, D, time)."""
        windows = torch.from_numpy(self.views[:, starts].swapaxes(0, 1).copy())
        return self.whiten(windows.to(self.scorer.device) * STRAIN_UNIT)

    def score(self) -> None:
        """Whiten all windows and score them."""
        for starts in self.batches():
            self.scorer.score_conditioned({"waveform": self.whitened(starts)})

    def score_slide(self) -> None:
        """Score whitened windows with the second detector shifted."""
        for rows in self.slid.split(BATCH):
            self.scorer.score_conditioned({"waveform": rows})


def measure_network(
    settings: BenchmarkSettings, name: str, config: ConfigMeta, seconds: int
) -> list[Measurement]:
    """Return the rows of one network."""
    scorer = WindowScorer(config, [], settings.device)
    scorer.networks = [build_model(config).to(settings.device).eval()]
    # The other side applies all transforms to the strain at once.
    assert [len(chain) for chain in scorer.transforms.values()] == [0]
    stretch = simulate_stretch(config, seconds)
    ours = WindowedScorer(scorer, arrival=1.0, step=STEP, batch_size=BATCH)
    theirs = WindowsOfNetwork(config, scorer, stretch)
    slide = {observation_of(config).detectors[1]: SHIFT}

    def engine() -> None:
        ours.prepare(stretch)
        ours.window_scores({})

    sides = {
        "engine": engine,
        "slide": lambda: ours.window_scores(slide),
        "windows": theirs.score,
        "slid windows": theirs.score_slide,
    }
    rounds = settings.rounds(3)
    times = interleave(sides, settings.device, rounds, settings.least_seconds, warm_up=1)
    an_hour = {side: [each * 3600 / seconds for each in values] for side, values in times.items()}
    scores = ours.window_scores(slide)[0]
    fronts, ours.fronts, ours.features = ours.fronts, [], None
    there = np.isfinite(scores)  # the ring of a slide has windows that are cut through
    difference = float(np.abs(ours.window_scores(slide)[0][there] - scores[there]).max())
    what = name.replace("_", " ")
    front = fronts[0] if fronts else None
    extra = {
        "rounds": rounds,
        "largest difference": difference,
        "steps over the stretch": len(front.steps) if front else 0,
        "steps": len(scorer.networks[0].front_steps()),
        "share of a window's samples that they take": front and front.reach.work(front.hop),
        "seconds between windows": ours.step,
        "of each detector alone": bool(front and front.reach.is_apart),
    }
    common = {"strain": f"{seconds} s", "detectors": len(stretch.stretch.detectors), "batch": BATCH}
    return [
        Measurement(
            f"windowed.{name}.{key}",
            f"{what}: an hour of windows by the search{suffix}",
            "windows whitened and scored one by one"
            if key == "zero_lag"
            else "windows that are kept",
            paired_ratios(an_hour[other], an_hour[side]),
            "×",
            True,
            {},
            Spread.of(an_hour[side]),
            Spread.of(an_hour[other]),
            settings=common,
            extra=extra,
        )
        for key, side, other, suffix in (
            ("zero_lag", "engine", "windows", ""),
            ("slide", "slide", "slid windows", ", of a further time slide"),
        )
    ]


def measure(settings: BenchmarkSettings) -> Findings:
    import configs

    seconds = settings.choose(cpu=150, cuda=1200, quick=12)
    names = settings.choose(cpu=list(NETWORKS), cuda=list(NETWORKS), quick=["branches", "cnn1d"])
    rows: list[Measurement] = []
    for name in names:
        experiment, model = NETWORKS[name]
        config = make_config(getattr(configs, experiment), model)
        rows += measure_network(settings, name, config, seconds)
    return Findings(rows)


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("windowed", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
