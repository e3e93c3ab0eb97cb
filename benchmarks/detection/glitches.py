"""Does a network take one loud detector for a merger?

Blips in a single detector beside mergers that all detectors see, in the same Gaussian noise: how
often does a trained run give the merger the higher score? A blip of SNR 25 is louder than the
merger of network SNR 12 that it is compared with, so that loudness alone ranks them wrongly.

    python -m benchmarks.detection.glitches --config Wave07 Wave08
    python -m benchmarks.detection.glitches --config Wave07 Wave09 --untrained

With `--gaussian N` it also says what this costs where there are no glitches: the AUC on the
hold-out of N samples, and its difference from that of the first experiment.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.detection.holdout import HoldoutSettings, open_holdout
from benchmarks.detection.networks import InitialScorer, NetworkScorer
from benchmarks.harness.machine import find_device
from metrics import AUC, delong_error
from physics.bank_settings import BankSettings
from physics.constants import STRAIN_UNIT
from physics.noise import NoiseGenerator
from physics.observation import COMPETITION, Observation
from physics.population import COMPETITION_POPULATION, Population
from physics.signals import SignalGenerator
from physics.waveform_bank import WaveformBank
from runtime.command_line import CommandLine, run_command
from runtime.console import configure_logging
from runtime.errors import UserError
from runtime.files import write_json
from runtime.seeds import counted_seed
from transforms import AddGlitches

BATCH = 64  # samples drawn at a time
QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
COUNTED = ("samples", "blip", "merger", "gaussian", "seed")  # options that the figures depend on


@dataclass(frozen=True)
class DrawnSamples:
    """Samples in memory, as `NetworkScorer.compute` reads them.

    Attributes:
        strain: (samples, detector, time) float32.
    """

    strain: Tensor

    def __len__(self) -> int:
        return len(self.strain)

    def batch(self, start: int, stop: int, device: torch.device | str = "cpu") -> Tensor:
        """Return the strain of some rows, (rows, detector, time) float32."""
        return self.strain[start:stop].to(device)


def draw_blips_and_mergers(
    count: int,
    blip_snr: float,
    merger_snr: float,
    seed: int = 0,
    observation: Observation = COMPETITION,
    population: Population = COMPETITION_POPULATION,
    cache_dir: Path | None = None,
) -> tuple[DrawnSamples, DrawnSamples]:
    """Draw noise with a blip in one detector, and the same noise with a merger instead.

    Args:
        count: samples of either kind.
        blip_snr: optimal SNR of every blip, in its own detector.
        merger_snr: optimal SNR of every merger, of all detectors together.
        seed: of everything but the waveforms, which no training uses.
        observation: what the samples are of.
        population: the laws of the mergers, but for how loud they are.
        cache_dir: where waveforms are kept; default that of `physics.cache_folder`.

    Returns:
        Blips and mergers.
    """
    holdout = HoldoutSettings()
    settings = BankSettings.of(population, observation, holdout.bank_size, holdout.bank_seed)
    bank = WaveformBank.build(settings, cache_dir)
    signals = SignalGenerator(bank, population=population, observation=observation)
    noise_generator = NoiseGenerator(observation=observation)
    add_blip = AddGlitches(
        {"blip": 1.0}, snr=(blip_snr, blip_snr), always_apply=True, observation=observation
    )
    blips, mergers = (torch.empty(count, *observation.shape) for _ in range(2))
    for number, start in enumerate(range(0, count, BATCH)):
        stop = min(start + BATCH, count)
        draw_seed = counted_seed(seed, "blips and mergers", number)
        generator = torch.Generator().manual_seed(draw_seed)
        noise = noise_generator.sample(BATCH, generator)
        # Transforms draw from torch's own generator; it is left as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw_seed)
            blips[start:stop] = add_blip(noise)[: stop - start]
        strain, snr, _ = signals.draw_at_bank_distance(BATCH, generator)
        # The network SNR is the root of the sum of the detectors' squares.
        scale = merger_snr / snr.norm(dim=1) * STRAIN_UNIT
        mergers[start:stop] = (noise + strain * scale[:, None, None])[: stop - start]
    return DrawnSamples(blips), DrawnSamples(mergers)


def compare_scores(blips: np.ndarray, mergers: np.ndarray) -> dict[str, Any]:
    """Return how well scores tell mergers from blips.

    Args:
        blips, mergers: scores (n,) of either kind.

    Returns:
        "ranked": the share of all pairs of a merger and a blip in which the merger has the higher
        score (the AUC), "error": its standard error, and quantiles of both kinds' scores.
    """
    scores = np.concatenate([blips, mergers])
    targets = np.repeat([0, 1], [len(blips), len(mergers)])
    ranked, error = AUC()(targets, scores), delong_error(targets, scores)
    kinds = {"blips": blips, "mergers": mergers}
    quantiles = {name: np.quantile(values, QUANTILES).tolist() for name, values in kinds.items()}
    return {"ranked": float(ranked), "error": float(error), **quantiles}


def compare_networks(
    targets: np.ndarray, scores: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return the AUC of networks on the same samples, and their distance from the first one's.

    Args:
        targets: (samples,) of 0 and 1.
        scores: (samples,) of every network, by name.
    """
    first = next(iter(scores.values()))
    return {
        name: {
            "auc": float(AUC()(targets, values)),
            "error": float(delong_error(targets, values)),
            "difference": float(AUC()(targets, values) - AUC()(targets, first)),
            "difference_error": paired_error(targets, values, first),
        }
        for name, values in scores.items()
    }


def paired_error(targets: np.ndarray, scores: np.ndarray, others: np.ndarray) -> float:
    """Return the standard error of the difference of two AUCs on the same samples.

    By DeLong et al. (Biometrics 44, 837, 1988): an AUC is the mean over positives of the part of
    negatives below, and the mean over negatives of the part of positives above. The error of a
    difference is that of the means of the samples' differences.
    """
    variance = 0.0
    for label in (0, 1):
        own = targets == label
        parts = [placements(values[own], values[~own]) for values in (scores, others)]
        variance += np.var(parts[0] - parts[1], ddof=1) / own.sum()
    return float(np.sqrt(variance))


def placements(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the part of `others` below each of the values, ties counting one half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return below / 2 / len(others)


def make_parser() -> CommandLine:
    parser = CommandLine(
        prog="-m benchmarks.detection.glitches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", nargs="+", required=True, metavar="NAME", help="experiments")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of all of them")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="folder of all results (%(default)s)",
    )
    parser.add_argument("--untrained", action="store_true", help="use their initial weights")
    parser.add_argument(
        "--allow_unfinished", action="store_true", help="score folds whose training has not ended"
    )
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="of either kind")
    parser.add_argument("--blip", type=float, default=25.0, metavar="SNR", help="(default: 25)")
    parser.add_argument("--merger", type=float, default=12.0, metavar="SNR", help="(default: 12)")
    parser.add_argument(
        "--gaussian", type=int, metavar="N", help="samples of a hold-out, to measure the AUC on"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the samples (%(default)d)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU, if there is one)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    configure_logging()
    if args.samples < 4 or args.blip <= 0 or args.merger <= 0:
        raise UserError(
            f"--samples {args.samples} --blip {args.blip:g} --merger {args.merger:g}: expected 4 "
            f"or more samples, and SNRs above 0"
        )
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override
    from experiments.building import observation_of, population_of

    found = [override(load_config(name), args.set) for name in args.config]
    laws = {(observation_of(config), population_of(config)) for config in found}
    if len(laws) > 1:
        raise UserError(
            f"{', '.join(args.config)} are of different observations or populations: compare those "
            f"of one at a time"
        )
    observation, population = laws.pop()
    scorer_class = InitialScorer if args.untrained else NetworkScorer
    allow = args.allow_unfinished
    scorers = [
        scorer_class(config, args.results / config.name, allow_unfinished=allow) for config in found
    ]
    for scorer in scorers:
        scorer.weights()  # reports missing files before anything is computed
    device, figures = find_device(args.device), {}
    blips, mergers = draw_blips_and_mergers(
        args.samples, args.blip, args.merger, args.seed, observation, population
    )
    print(f"{args.samples} blips of SNR {args.blip:g} and mergers of SNR {args.merger:g}")
    for scorer in scorers:
        scores = [scorer.compute(samples, device)[0] for samples in (blips, mergers)]
        figures[scorer.name] = compare_scores(*scores)
        entry = figures[scorer.name]
        print(
            f"{scorer.name}: {100 * entry['ranked']:.2f} ± {100 * entry['error']:.2f} of 100 pairs "
            f"ranked rightly; median score {entry['blips'][2]:.2f} of blips, "
            f"{entry['mergers'][2]:.2f} of mergers"
        )
    if args.gaussian is not None:
        holdout = open_holdout(
            HoldoutSettings(samples=args.gaussian, observation=observation, population=population)
        )
        found_scores = {scorer.name: scorer.compute(holdout, device)[0] for scorer in scorers}
        print(f"{args.gaussian} samples of Gaussian noise, half of them with a signal")
        for name, entry in compare_networks(holdout.targets, found_scores).items():
            figures[name]["gaussian"] = entry
            print(
                f"{name}: AUC {entry['auc']:.4f} ± {entry['error']:.4f}, by "
                f"{entry['difference']:+.4f} ± {entry['difference_error']:.4f} from the first"
            )
    if args.out is not None:
        settings = {key: getattr(args, key) for key in COUNTED}
        write_json(args.out, {**settings, "quantiles": QUANTILES, "networks": figures})
        print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
