"""Which score ranks mergers above glitches, and what does it cost where there are none?

A bank of matched filters can be ranked by its likelihood ratio as it is, by the ratio beside the
hypothesis of a glitch in each detector (models1d/glitch_hypothesis.py), by the ratio with SNRs that
a chi-squared test reduces (search/consistency.py), or by both. All four are computed here for the
same windows:

* Gaussian noise, from which the threshold for a number of false alarms a month follows. No month is
  drawn: the tail of a likelihood ratio L falls as 1 / L, so that a threshold of log L is that of a
  larger false-alarm probability, and the logarithm of how much larger it is.
* Signals of the experiment's population in Gaussian noise: how many are found at that threshold.
* The same noise with one glitch, of any kind but drop-outs, SNR 8 to 200, at any time of the window
  in one detector: how many are above the threshold, and how many signals are found where the
  loudest of these glitches is the threshold.
* The same with a glitch in every detector, at times of their own. At 20 an hour and detector, two
  detectors have them in one window of 2 s some 160 times a month.

    python -m benchmarks.detection.glitch_ranking --config Mdc1Glitches --untrained
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.detection.holdout import HoldoutSettings
from benchmarks.harness.measurements import markdown_table
from configuration.class_with_arguments import Part
from configuration.config_class import ConfigMeta
from experiments.building import build_model, observation_of, population_of
from models1d import MatchedFilter1d
from physics.bank_settings import BankSettings
from physics.observation import Observation
from runtime.command_line import CommandLine, run_command
from runtime.console import configure_logging, progress
from runtime.errors import UserError
from runtime.files import write_json
from runtime.seeds import counted_seed
from search.consistency import measure_consistency
from simulation.glitch_noise import Glitches
from simulation.shared_generators import shared_signals, shared_whitened
from simulation.spectral_whitening import SpectralWhitening
from simulation.unit_signals import UnitSignals

BATCH = 32
GLITCH_SNR = (8.0, 200.0)
KINDS = ("noise", "signals", "glitches", "glitches_everywhere")
STATISTICS = ("ratio", "glitch hypothesis", "chi-squared", "both")
MONTH = 30 * 86400.0  # s
FALSE_ALARMS = 10  # a month
MEASURED = 0.01  # false-alarm probability of a window whose threshold is measured
CPU = torch.device("cpu")


class CertainGlitches(Glitches):
    """Glitches, of which every sample has one: in one detector, or in each of them.

    Attributes:
        everywhere: whether all detectors have one.
    """

    everywhere = False

    def draw_counts(self, rows: int, generator: torch.Generator | None) -> Tensor:
        number = self.observation.num_detectors
        if self.everywhere:
            return torch.ones(rows, dtype=torch.int64)
        chosen = torch.randint(number, (rows // number,), generator=generator)
        return F.one_hot(chosen, number).flatten()  # (samples, detector) -> (rows,)


@dataclass(frozen=True)
class Drawer:
    """Draws whitened windows of an experiment's observation and population."""

    noise: CertainGlitches
    whitening: SpectralWhitening
    signals: UnitSignals
    observation: Observation

    @classmethod
    def of(cls, config: ConfigMeta, bank_size: int) -> Drawer:
        """Return what draws windows as an experiment trains on them, with other waveforms.

        Raises:
            UserError: the experiment does not train on whitened simulated strain.
        """
        whiten = config.dataset_params.get("whiten")
        if whiten is None:
            raise UserError(
                f"{config.__name__} does not train on whitened simulated strain: name an "
                f"experiment with dataset_params['whiten'], such as Mdc1Glitches"
            )
        observation, population = observation_of(config), population_of(config)
        bank = BankSettings.of(population, observation, bank_size, HoldoutSettings().bank_seed)
        signals = shared_signals(bank, population, CPU, observation)
        noise = Part(CertainGlitches, snr=GLITCH_SNR).build_for(observation=observation)
        decimate = whiten.build_for(observation=observation).decimate
        return cls(
            noise=noise,
            whitening=SpectralWhitening(noise.psds, observation, decimate),
            signals=UnitSignals(signals, shared_whitened(signals, whiten, observation, True)),
            observation=observation,
        )

    def draw(self, kind: str, samples: int, seed: int) -> Iterator[Tensor]:
        """Draw one of `KINDS` in batches of (rows, detector, time)."""
        self.noise.everywhere = kind == "glitches_everywhere"
        for number, start in enumerate(range(0, samples, BATCH)):
            generator = torch.Generator()
            generator.manual_seed(counted_seed(seed, kind, number))
            rows = min(BATCH, samples - start)
            psds = self.noise.draw_psd_numbers(rows, generator)
            x = self.noise.draw_rows(rows, generator, psds, self.whitening)
            if kind.startswith("glitches"):
                x = self.noise.add_transients(x, psds, self.whitening, True, generator)
            elif kind == "signals":
                drawn, snr, _ = self.signals.draw(rows, generator)
                if snr is None:
                    bounds = self.signals.signals.population.snr
                    snr = self.signals.signals.draw_snr(rows, bounds, generator)
                x = x + drawn * snr[:, None, None]
            yield x


@torch.inference_mode()
def compute_statistics(model: MatchedFilter1d, x: Tensor) -> np.ndarray:
    """Return all statistics of windows, (rows, statistic), in the order of `STATISTICS`.

    Args:
        model: a network with `glitches`.
        x: (rows, detector, time) whitened strain.
    """
    log_prior = F.log_softmax(model.prior, 0)[:, None]
    beside = model.forward_features(x)  # (rows, template, time)
    log_ratio = model.log_ratio(model.quadratures(x))
    number = math.log(log_ratio.shape[-1])
    ratio, hypothesis = (
        ((each + log_prior).flatten(1).logsumexp(1) - number).numpy()
        for each in (log_ratio, beside)
    )
    best = (log_ratio + log_prior).flatten(1).argmax(1)
    template, time = (best // log_ratio.shape[-1]).tolist(), (best % log_ratio.shape[-1]).tolist()
    lost = np.array(
        [
            exponent_lost(model, row, m, t)
            for row, m, t in zip(x.numpy(), template, time, strict=True)
        ]
    )
    return np.stack([ratio, hypothesis, ratio - lost, hypothesis - lost], axis=1)


def exponent_lost(model: MatchedFilter1d, strain: np.ndarray, m: int, t: int) -> float:
    """Return by how much reweighted SNRs reduce the exponents a rho^2 / 2 of all detectors.

    Args:
        model: gives the templates.
        strain: (detector, time) whitened.
        m, t: number of the template and of the arrival time at the reference.
    """
    merger = (model.grid.first + t) * model.stride
    lost = 0.0
    for which, channels in enumerate(model.groups):
        quadratures = (model.templates[which][m, :2] @ model.filters[which]).numpy()  # (2, length)
        for d in channels:
            reach = (model.grid.reach[d] + 1) * model.stride
            found = measure_consistency(strain[d], merger, reach, quadratures, model.before)
            a = model.amplitude[d].sigmoid().item()
            lost += a * (found.snr**2 - found.reweighted_snr**2) / 2
    return lost


def compute_figures(
    noise: np.ndarray,
    signals: np.ndarray,
    glitches: np.ndarray,
    glitches_everywhere: np.ndarray,
    windows: float,
) -> dict[str, dict[str, float]]:
    """Return what each statistic finds.

    Args:
        noise, signals, glitches, glitches_everywhere: (samples, statistic) each.
        windows: independent windows in a month.
    """
    figures = {}
    for k, name in enumerate(STATISTICS):
        measured = float(np.quantile(noise[:, k], 1 - MEASURED))
        threshold = measured + math.log(MEASURED * windows / FALSE_ALARMS)
        found = float((signals[:, k] > threshold).mean())
        loudest = float(glitches[:, k].max())
        figures[name] = {
            "threshold": threshold,
            "found": found,
            "found_error": math.sqrt(found * (1 - found) / len(signals)),
            "glitches_above": float((glitches[:, k] > threshold).mean()),
            "loudest_glitch": loudest,
            "everywhere_above": float((glitches_everywhere[:, k] > threshold).mean()),
            "loudest_everywhere": float(glitches_everywhere[:, k].max()),
            "glitch_quantile_99": float(np.quantile(glitches[:, k], 0.99)),
            "found_above_all_glitches": float((signals[:, k] > max(threshold, loudest)).mean()),
        }
    return figures


def format_figures(figures: dict[str, dict[str, float]]) -> str:
    """Return the figures as a table in Markdown; distances are cube roots of the found parts."""
    reference = figures["ratio"]["found"]

    def distance(found: float) -> str:
        return f"{(found / reference) ** (1 / 3):.3f}" if reference else "-"

    head = [
        "score",
        f"threshold for {FALSE_ALARMS} a month",
        "signals found",
        "distance",
        "glitches above it",
        "99 % of glitches below",
        "loudest glitch",
        "signals above all glitches",
        "distance",
        "glitches in all detectors above it",
        "loudest of them",
    ]
    body = [
        [
            name,
            f"{row['threshold']:.1f}",
            f"{row['found']:.3f} ± {row['found_error']:.3f}",
            distance(row["found"]),
            f"{100 * row['glitches_above']:.2f} %",
            f"{row['glitch_quantile_99']:.1f}",
            f"{row['loudest_glitch']:.1f}",
            f"{row['found_above_all_glitches']:.3f}",
            distance(row["found_above_all_glitches"]),
            f"{100 * row['everywhere_above']:.2f} %",
            f"{row['loudest_everywhere']:.1f}",
        ]
        for name, row in figures.items()
    ]
    return "\n".join(markdown_table(head, body))


def open_network(
    config: ConfigMeta, folder: Path | None, allow_unfinished: bool = False
) -> MatchedFilter1d:
    """Return the network of an experiment with its first fold's weights, or its initial ones.

    Raises:
        UserError: it is no bank of matched filters with the hypothesis of glitches, or its weights
            are unfinished and not allowed.
    """
    from benchmarks.detection.networks import NetworkScorer
    from training.checkpoints import load_model

    model = build_model(config, pretrained=folder is None).eval()
    if not isinstance(model, MatchedFilter1d) or model.glitch is None:
        raise UserError(
            f"{config.__name__} has no MatchedFilter1d with glitches: name Wave09, Mdc1Glitches, "
            f"or another with --set model_params.glitches=true"
        )
    if folder is not None:
        scorer = NetworkScorer(config, folder, allow_unfinished=allow_unfinished)
        load_model(model, scorer.weights()[0])
    return model


def make_parser() -> CommandLine:
    parser = CommandLine(
        prog="-m benchmarks.detection.glitch_ranking",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="NAME", help="experiment")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of it")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="folder of all results (%(default)s)",
    )
    parser.add_argument("--untrained", action="store_true", help="use its initial weights")
    parser.add_argument(
        "--allow_unfinished", action="store_true", help="use a fold whose training has not ended"
    )
    parser.add_argument("--samples", type=int, default=2000, metavar="N", help="of each kind")
    parser.add_argument("--bank_size", type=int, default=2000, metavar="N", help="of the signals")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the samples (%(default)d)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    configure_logging()
    if args.samples < 2 / MEASURED:
        raise UserError(
            f"--samples {args.samples}: expected {2 / MEASURED:.0f} or more, as the threshold is "
            f"measured at a false-alarm probability of {MEASURED:g}"
        )
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override

    config = override(load_config(args.config), args.set)
    folder = None if args.untrained else args.results / config.name
    model = open_network(config, folder, args.allow_unfinished)
    drawer = Drawer.of(config, args.bank_size)
    rate = model.samples / drawer.observation.window / model.stride  # arrival times a second
    windows = MONTH * rate / model.grid.num_times
    statistics = {
        kind: statistics_of(model, drawer.draw, kind, args.samples, args.seed) for kind in KINDS
    }
    figures = compute_figures(**statistics, windows=windows)
    print(format_figures(figures))
    if args.out is not None:
        written: dict[str, Any] = {
            "config": config.__name__,
            "untrained": args.untrained,
            "samples": args.samples,
            "seed": args.seed,
            "bank_size": args.bank_size,
            "glitch_snr": GLITCH_SNR,
            "windows_a_month": windows,
            "false_alarms_a_month": FALSE_ALARMS,
            "statistics": figures,
        }
        write_json(args.out, written)
        print(f"written: {args.out}")
    return 0


def statistics_of(
    model: MatchedFilter1d,
    draw: Callable[[str, int, int], Iterator[Tensor]],
    kind: str,
    samples: int,
    seed: int,
) -> np.ndarray:
    """Return the statistics of windows of one kind, (samples, statistic)."""
    batches = progress(
        draw(kind, samples, seed), total=math.ceil(samples / BATCH), desc=kind, unit="batch"
    )
    return np.concatenate([compute_statistics(model, x) for x in batches])


if __name__ == "__main__":
    run_command(main)
