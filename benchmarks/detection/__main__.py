"""How good is a detector of mergers, compared with the best possible one?

On one simulated hold-out that nothing was trained on: AUC, efficiency at false-alarm probabilities
of 0.1, 0.01 and 0.001, and both by SNR, of

- the true waveform at its true place and time, which no search can know;
- the near-optimal statistic, the likelihood ratio averaged over all that is not known, with few
  and with more templates, and the maximum of its coherent matched filter;
- a bank of matched filters, incoherent between detectors: maximum and log-mean-exp;
- any trained run: `--config Demo` takes the fold<k>.pt in results/demo.

The samples are those of the competition's observation and population, or of the experiments that
are scored, or of the experiment that `--holdout_of` names.

The samples and the scores are kept in the folder of the noise ($G2NET_CACHE or ~/.cache/g2net), so
that one more network costs no more than its own predictions. The figures go into
benchmarks/results/detection.json and .md, the plots and the table into docs/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import FIGURES, RESULTS
from benchmarks.detection.holdout import Holdout, HoldoutSettings, open_holdout
from benchmarks.detection.likelihood import NearOptimal
from benchmarks.detection.monthly_alarms import MonthlyAlarms
from benchmarks.detection.networks import NetworkScorer
from benchmarks.detection.plots import draw_detection_plots
from benchmarks.detection.report import (
    FORMAT,
    PAGE,
    format_detection,
    load_detection,
    record_detection,
    update_detection_page,
)
from benchmarks.detection.scores import KnownSignal, SampleScorer, detection_figures, scores_of
from benchmarks.detection.templates import MatchedFilter
from benchmarks.harness.machine import find_device, torch_threads
from configuration.config_class import ConfigMeta
from physics.observation import COMPETITION
from physics.population import COMPETITION_POPULATION
from runtime.command_line import CommandLine, run_command
from runtime.console import configure_logging
from runtime.errors import UserError
from runtime.versions import git_revision

# Of the near-optimal statistic: as many as the ceilings that it is compared with had, and more.
TEMPLATES = (60, 180)
RECORD_SAMPLES = 4000  # what figures of the record are made from, at least


def make_parser() -> CommandLine:
    parser = CommandLine(
        prog="-m benchmarks.detection",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    settings, optimal = HoldoutSettings(), NearOptimal()
    parser.add_argument(
        "--config", nargs="+", default=[], metavar="NAME", help="experiments to score as well"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of those experiments, as in train.py, e.g. name=my_run",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="where their runs are (default: results)",
    )
    parser.add_argument(
        "--holdout_of",
        metavar="NAME",
        help="the experiment whose observation and population the hold-out has "
        "(default: the one that all of --config have, else the competition's)",
    )
    parser.add_argument(
        "--allow_unfinished", action="store_true", help="score folds whose training has not ended"
    )
    parser.add_argument("--tta", action="store_true", help="average over their test-time views")
    parser.add_argument(
        "--samples",
        type=int,
        default=settings.samples,
        metavar="N",
        help=f"of the hold-out, every second with a signal (default: {settings.samples})",
    )
    parser.add_argument(
        "--seed", type=int, default=settings.seed, metavar="N", help="of the hold-out (default: 0)"
    )
    parser.add_argument(
        "--near_optimal",
        type=int,
        default=None,
        metavar="N",
        help="samples, from the first, for the near-optimal statistic, which takes longest; "
        "0 leaves it out (default: all)",
    )
    parser.add_argument(
        "--templates",
        type=int,
        nargs="+",
        default=TEMPLATES,
        metavar="N",
        help="of the near-optimal statistic, each number for itself (default: 60 180)",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=optimal.share,
        metavar="X",
        help="of a sample's pairs of template and time, those with the largest SNR, that it sums "
        f"over (default: {optimal.share})",
    )
    parser.add_argument(
        "--bank",
        type=int,
        default=MatchedFilter.templates,
        metavar="N",
        help=f"templates of the matched filters (default: {MatchedFilter.templates})",
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=optimal.draws,
        metavar="N",
        help=f"of sky position and orientation (default: {optimal.draws})",
    )
    parser.add_argument(
        "--alarms",
        type=Path,
        metavar="FILE",
        help="sensitivity.json of a run of benchmarks.mdc with --config: also say what is found at "
        "its rates of false alarms a month",
    )
    parser.add_argument("--anew", action="store_true", help="compute scores that were kept again")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU, if there is one)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: its own)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="put figures and plots there (default: the record, of 4,000 samples or more)",
    )
    parser.add_argument(
        "--page", action="store_true", help="only write the recorded figures into the page in docs/"
    )
    return parser


def check_arguments(args: argparse.Namespace, settings: HoldoutSettings) -> None:
    """Check what argparse cannot; `args.out` is then the record where the figures belong there.

    Raises:
        UserError: a number out of range, or samples that do not belong into the record.
    """
    numbers = {
        "bank": args.bank,
        "draws": args.draws,
        "threads": args.threads,
        "templates": min(args.templates),
    }
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: expected 1 or more")
    few = args.samples < RECORD_SAMPLES
    in_record = args.out is not None and args.out.resolve() == RESULTS
    # Fewer samples have errors too large for differences between good detectors.
    if few and in_record:
        raise UserError(
            f"--samples {args.samples} are too few to stand in {RESULTS}: take {RECORD_SAMPLES} or "
            f"more, or name another folder with --out"
        )
    if in_record and not settings.is_competition:
        raise UserError(
            f"{RESULTS} holds figures of the competition's observation and population, and this "
            f"hold-out has others: name another folder with --out"
        )
    if args.out is None and not few and settings.is_competition:
        args.out = RESULTS


def find_experiments(args: argparse.Namespace) -> list[ConfigMeta]:
    """Return the experiments that are to be scored.

    Raises:
        UserError: an unknown config, or settings without one.
    """
    if not args.config and (args.tta or (args.set and args.holdout_of is None)):
        raise UserError("--set and --tta are for experiments: name some with --config")
    return [find_experiment(name, args.set) for name in args.config]


def find_experiment(name: str, settings: Sequence[str]) -> ConfigMeta:
    """Return the config of that name with `--set` applied.

    Raises:
        UserError: there is none, or a setting does not fit it.
    """
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override

    return override(load_config(name), settings)


def find_holdout(args: argparse.Namespace, experiments: Sequence[ConfigMeta]) -> HoldoutSettings:
    """Return the settings of the samples that are scored.

    Raises:
        UserError: experiments of several laws are scored and none is chosen, or an experiment
            reads other detectors, another rate or another window than the hold-out has.
    """
    from experiments.building import observation_of, population_of

    if args.holdout_of is not None:
        experiments_of_law = [find_experiment(args.holdout_of, args.set)]
    else:
        experiments_of_law = list(experiments)
    laws = {(observation_of(c), population_of(c)): c.__name__ for c in experiments_of_law}
    if len(laws) > 1:
        raise UserError(
            f"--config: {' and '.join(laws.values())} have different observations or populations: "
            f"name the one whose signals and noise are to be found with --holdout_of"
        )
    observation, population = next(iter(laws), (COMPETITION, COMPETITION_POPULATION))
    for config in experiments:
        own = observation_of(config)
        if own.sampling != observation.sampling:
            raise UserError(
                f"{config.__name__} is an experiment of {own} and the hold-out of --holdout_of "
                f"{args.holdout_of} has {observation}: score it on a hold-out of its own"
            )
    return HoldoutSettings(args.samples, args.seed, observation=observation, population=population)


def find_scorers(
    args: argparse.Namespace, settings: HoldoutSettings, experiments: Sequence[ConfigMeta]
) -> list[SampleScorer]:
    """Return the scorers that the arguments ask for.

    Raises:
        UserError: an experiment without weights, or with unfinished ones that are not allowed.
    """
    found: list[SampleScorer] = [KnownSignal(), MatchedFilter(args.bank)]
    if args.near_optimal != 0:
        samples = args.samples if args.near_optimal is None else args.near_optimal
        snr = settings.population.snr
        found += [NearOptimal(samples, n, args.draws, args.share, snr) for n in args.templates]
    for config in experiments:
        views = tuple(config.views) if args.tta else ("identity",)
        folder = args.results / config.name
        scorer = NetworkScorer(config, folder, views, args.allow_unfinished)
        scorer.weights()  # reports missing files before anything is computed
        found.append(scorer)
    return found


def find_alarms(
    args: argparse.Namespace, scorers: Sequence[SampleScorer], settings: HoldoutSettings
) -> MonthlyAlarms | None:
    """Return the thresholds of --alarms, which every network must have; None without.

    Raises:
        UserError: there are no networks, a network has no thresholds, or they are of other noise.
    """
    if args.alarms is None:
        return None
    from experiments.building import observation_of

    networks = [each for each in scorers if isinstance(each, NetworkScorer)]
    if not networks:
        raise UserError("--alarms: name the networks with --config")
    alarms = MonthlyAlarms.read(args.alarms)
    for each in networks:
        if observation_of(each.config) != settings.observation:
            raise UserError(
                f"--alarms: {each.name} was searched with in other noise than the hold-out has: "
                f"leave --holdout_of out"
            )
        alarms.rows_of(each)  # before anything is computed
    return alarms


def detectors_of(
    scorers: Sequence[SampleScorer],
    holdout: Holdout,
    device: torch.device,
    anew: bool,
    alarms: MonthlyAlarms | None = None,
) -> dict[str, Any]:
    """Return the figures of every statistic of every scorer, by its name."""
    found = {}
    for scorer in scorers:
        scores = scores_of(scorer, holdout, device, anew=anew)
        rows = scorer.rows(holdout)
        for name, values in zip(scorer.names, scores.values, strict=True):
            found[name] = {
                "scorer": scorer.key,
                "samples": rows,
                "settings": scorer.settings(),
                "seconds": round(scores.seconds, 1),
                "device": scores.device,
                "threads": scores.threads,
                "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "git_revision": git_revision(),
                **detection_figures(holdout.targets[:rows], holdout.snr[:rows], values),
            }
            if hasattr(scorer, "budget"):  # of what was trained
                found[name]["budget"] = scorer.budget()
            if alarms is not None and isinstance(scorer, NetworkScorer):
                found[name]["monthly"] = alarms.figures(scorer, holdout.targets[:rows], values)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    configure_logging()
    if args.page:
        print("\n".join(f"written: {path}" for path in update_detection_page()))
        return 0
    experiments = find_experiments(args)
    settings = find_holdout(args, experiments)
    check_arguments(args, settings)
    scorers = find_scorers(args, settings, experiments)
    alarms = find_alarms(args, scorers, settings)
    device = find_device(args.device)
    with torch_threads(args.threads):
        holdout = open_holdout(settings)
        detectors = detectors_of(scorers, holdout, device, args.anew, alarms)
    described = {
        "samples": len(holdout),
        "signals": int(holdout.targets.sum()),
        # A few scores identify the samples themselves, which CPUs draw with other last digits.
        "known": [round(value, 4) for value in holdout.known[:32].tolist()],
        "settings": holdout.settings.to_plain(),
    }
    results = {"format": FORMAT, "holdout": described, "detectors": detectors}
    if args.out is not None:
        path = record_detection(args.out, described, detectors)
        results = load_detection(path)
    print("\n".join(format_detection(results)))
    if args.out is None:
        enough = "" if args.samples >= RECORD_SAMPLES else f", or take {RECORD_SAMPLES} samples"
        print(f"\nnot recorded: name a folder with --out{enough}")
        return 0
    drawn = draw_detection_plots(results, args.out) if args.out.resolve() != RESULTS else None
    if drawn is None:
        drawn = update_detection_page() if PAGE.exists() else draw_detection_plots(results, FIGURES)
    print("\n".join(["", *(f"written: {each}" for each in (path, *drawn))]))
    return 0


if __name__ == "__main__":
    run_command(main)
