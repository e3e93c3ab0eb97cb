"""What is each part of an experiment worth? One is switched on or off at a time, by `--set`.

Every run sees as many samples, drawn from the same counters, and is scored on the hold-out of
`benchmarks.detection`. A part is worth the AUC with it less the AUC without it. Its error joins
that of the hold-out, on which both are scored, and the spread over seeds. Logits are kept, so that
a run that was done is not done again.

`--out` records the figures as ablation.json and .md. `--page` writes them into
docs/explanation/detection.md.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

import configs  # noqa: F401 - importing it registers the experiments
from benchmarks import ROOT
from benchmarks.detection.holdout import Holdout, HoldoutSettings, open_holdout
from benchmarks.detection.report import format_with_error
from benchmarks.harness import timed_steps
from benchmarks.harness.machine import describe_device, find_device
from benchmarks.harness.measurements import markdown_table
from benchmarks.harness.result_files import (
    locked_record,
    move_record_aside,
    replace_between_marks,
    write_record,
)
from benchmarks.harness.timed_steps import random_experiment
from configuration.config_class import ConfigMeta
from configuration.config_references import load_config
from configuration.json_types import to_plain
from configuration.overrides import override
from experiments.building import observation_of, population_of
from experiments.npy_files import load_array, save_array
from metrics import AUC, paired_delong_error
from models1d import MatchedFilter1d
from physics.cache_folder import cache_folder
from runtime.command_line import CommandLine, run_command
from runtime.console import configure_logging, progress
from runtime.errors import UserError, nearest
from runtime.files import atomic_path, format_json, read_json, write_json
from runtime.versions import git_revision, versions

PAGE = ROOT / "docs" / "explanation" / "detection.md"
BEGIN, END = "<!-- ablation: python -m benchmarks.detection.ablation -->", "<!-- ablation end -->"
EPOCHS = 8  # of a run, for the schedule
FORMAT = 1

# What is switched: its settings, and whether they switch it on (True) or off (False).
SWITCHES: dict[str, tuple[bool, tuple[str, ...]]] = {
    "exchange of the LIGO detectors": (False, ("transforms.train.0.p=0.0",)),
    "flips of the sign": (False, ("transforms.train.1.p=0.0",)),
    "shifts in time": (False, ("transforms.train.2.p=0.0",)),
    "spectral dropout": (True, ("transforms.train+=SpectralDropout",)),
    "detector dropout": (
        True,
        (
            "transforms.train+=DropChannel",
            "transforms.train.-1.channels=(0, 1, 2)",
            "transforms.train.-1.random=1",
            "transforms.train.-1.always_apply=false",
            "transforms.train.-1.p=0.2",
        ),
    ),
    "averaged weights": (False, ("ema_decay=none",)),
    "curriculum of the SNR": (True, ("dataset_params.curriculum=(8, 2)",)),
    "fresh signals every time": (True, ("dataset_params.reuse=1",)),
    "fresh binaries": (True, ("dataset_params.fresh=500",)),
    "ranks in the loss": (True, ("criterion=RankLoss", "criterion.rank=0.5")),
    "side targets: mass and SNR": (True, ("side_targets=[chirp_mass,network_snr]",)),
    "side targets: merger time too, without shifts in time": (
        True,
        ("side_targets=[merger_time,chirp_mass,network_snr]", "transforms.train.2.p=0.0"),
    ),
    "SiLU instead of ReLU": (False, ("model_params.activation=relu",)),
    "GeM pooling": (True, ("model_params.pooling=gem",)),
    "second concatenation": (True, ("model_params.second_concat=true",)),
    "CBAM": (True, ("model_params.attention=cbam",)),
    "stochastic depth": (True, ("model_params.drop_path=0.1",)),
    "LIGO branches that share weights": (False, ("model_params.share_branches=false",)),
    "long first kernels": (False, ("model_params.first_kernel_size=7",)),
}
OF_BANKS: dict[str, tuple[bool, tuple[str, ...]]] = {  # of experiments with a MatchedFilter1d
    "correlated amplitudes": (True, ("model_params.correlation=-0.6",))
}


class HoldoutRows(Dataset):
    """The first rows of a hold-out, in the batches of `G2NetDataset`.

    Args:
        holdout: strain and targets.
        rows: how many.
        sides: side targets of the config, which are not known of a hold-out.
    """

    def __init__(self, holdout: Holdout, rows: int, sides: int = 0) -> None:
        self.holdout, self.rows, self.sides = holdout, rows, sides

    def __len__(self) -> int:
        return self.rows

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        index = np.asarray(indices)
        target = np.full((len(index), 1 + self.sides), np.nan, np.float32)
        target[:, 0] = self.holdout.targets[index]
        return {
            "waveform": torch.from_numpy(self.holdout.strain[index]),
            "target": torch.from_numpy(target),
            "index": torch.from_numpy(index),
        }


def run_settings(samples: int, seed: int) -> list[str]:
    """Return the `--set` settings of a run that sees this many samples."""
    return [
        f"seed={seed}",
        f"num_epochs={EPOCHS}",
        f"dataset_params.samples_per_epoch={max(samples // EPOCHS, 1)}",
    ]


@functools.cache
def code_digest() -> str:
    """Return a digest of the code of a training: kept runs are reused only for the same code."""
    digest = hashlib.blake2b(digest_size=8)
    own = (Path(__file__), Path(timed_steps.__file__))
    # the top-level files and every wing: a package beside them, but for what only tests or measures
    wings = [init.parent for init in ROOT.glob("*/__init__.py")]
    sources = [file for wing in wings if wing.name != "benchmarks" for file in wing.rglob("*.py")]
    for path in sorted([*ROOT.glob("*.py"), *sources, *own]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def train_and_predict(
    config: ConfigMeta, holdout: Holdout, device: torch.device, folder: Path
) -> tuple[np.ndarray, float]:
    """Train a config and return its logits (samples,) of the hold-out and the seconds it took.

    Runs of the same code that are at hand in `folder` are read.
    """
    plain = {
        "format": FORMAT,
        "config": to_plain(config.to_plain()),
        "holdout": holdout.digest,
        "device": device.type,
        "code": code_digest(),
    }
    key = hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=8).hexdigest()
    path = folder / f"{key}.npy"
    if path.exists() and path.with_suffix(".json").exists():
        return load_array(path), read_json(path.with_suffix(".json"))["seconds"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        # The tables are not trained on; a few files stand in for them.
        experiment = random_experiment(
            config, Path(temporary), device, n_train=32, n_test=4, pretrained=True
        )
        rows, _ = experiment.folds[0]
        # A bank's filters are what its network is; others begin at random, so that no part profits
        # from what weights from elsewhere were trained with.
        is_bank = config.model is MatchedFilter1d
        trainer = experiment.build_trainer(0, training=True, pretrained=is_bank)
        trainer.callbacks = []  # nothing stops a run before it has seen its samples
        trainer.fit(
            experiment.dataset(experiment.train, rows, "train"),
            HoldoutRows(holdout, min(400, len(holdout)), len(config.side_targets)),
        )
        every = HoldoutRows(holdout, len(holdout), len(config.side_targets))
        logits = trainer.predict(every)[:, 0]  # (n, outputs) -> (n,)
    seconds = time.monotonic() - began
    folder.mkdir(parents=True, exist_ok=True)
    save_array(path, logits)
    write_json(path.with_suffix(".json"), {**plain, "seconds": seconds})
    return logits, seconds


def estimate_worth(
    targets: np.ndarray, base: Sequence[np.ndarray], changed: Sequence[np.ndarray], on: bool
) -> tuple[float, float]:
    """Return what a part is worth in AUC, and the standard error.

    Args:
        targets: (samples,) of 0 and 1.
        base, changed: logits (samples,) of each seed without and with the switch.
        on: whether the switch puts the part in; else it takes it out.
    """
    sign = 1 if on else -1
    gains = np.array(
        [
            sign * (AUC()(targets, after) - AUC()(targets, before))
            for before, after in zip(base, changed, strict=True)
        ]
    )
    # of the hold-out: the error of a seed's difference, as the samples are those of all seeds
    samples = np.mean(
        [
            paired_delong_error(targets, before, after)
            for before, after in zip(base, changed, strict=True)
        ]
    )
    # with the seeds, whose spread holds the samples' share as well: on the safe side
    spread = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return float(gains.mean()), float(math.hypot(samples, spread))


def find_switches(names: Sequence[str]) -> dict[str, tuple[bool, tuple[str, ...]]]:
    known = SWITCHES | OF_BANKS
    for name in names:
        if name not in known:
            raise UserError(
                f"--switch {name!r}: there is no such switch{nearest(name, list(known))}; there "
                f"are {', '.join(map(repr, known))}"
            )
    return {name: known[name] for name in names or SWITCHES}


def format_ablation(results: dict[str, Any]) -> list[str]:
    """Return the lines of the table, the largest worth first."""
    base, rows = results["base"], sorted(results["switches"], key=lambda row: -row["worth"])
    lines = [
        f"{results['config']}, {results['samples']:,} samples a run, {results['seeds']} seeds, "
        f"{results['device']['name']}: AUC {format_with_error(base['auc'], base['error'], 4)} on "
        f"{results['holdout']:,} simulated samples, in {base['seconds']:.0f} s a run.",
        "",
    ]
    table = [["part", "worth in AUC", "in the experiment", "AUC switched", "settings"]]
    table += [
        [
            row["part"],
            f"{row['worth']:+.4f} ± {row['error']:.4f}",
            "no" if row["on"] else "yes",
            f"{row['auc']:.4f}",
            f"`{' '.join(row['settings'])}`",
        ]
        for row in rows
    ]
    return lines + markdown_table(table[0], table[1:])


def record_ablation(folder: Path, results: dict[str, Any]) -> None:
    """Write ablation.json and .md; those with other figures that are there are moved aside."""
    path = folder / "ablation.json"
    with locked_record(path):
        if path.exists() and path.read_text() != format_json(results):
            move_record_aside(path)
        write_record(path, results, ["# Ablation", "", *format_ablation(results)])


def update_ablation_page(results: dict[str, Any], page: Path = PAGE) -> None:
    """Put the table between the marks of the page.

    Raises:
        UserError: a mark is missing from the page.
    """
    lines = [*format_ablation(results), ""]
    text = replace_between_marks(page.read_text(), BEGIN, END, lines, page)
    with atomic_path(page) as temporary:
        temporary.write_text(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandLine(
        prog="-m benchmarks.detection.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", default="Wave01", metavar="NAME", help="(default: Wave01)")
    parser.add_argument("--samples", type=int, default=2**17, metavar="N", help="of a run")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="runs of each")
    parser.add_argument("--holdout", type=int, default=4000, metavar="N", help="samples scored")
    parser.add_argument(
        "--switch", nargs="+", default=[], metavar="PART", help="(default: those of Wave01)"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all runs"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU, if there is one)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="record the figures there")
    parser.add_argument("--page", action="store_true", help="and write them into the page in docs/")
    args = parser.parse_args(argv)
    for name in ("samples", "seeds"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} {getattr(args, name)}: expected 1 or more")
    configure_logging()
    switches, config = find_switches(args.switch), load_config(args.config)
    device = find_device(args.device)
    variants = {None: (True, ())} | switches
    runs = {
        (part, seed): override(config, [*run_settings(args.samples, seed), *args.set, *settings])
        for part, (_, settings) in variants.items()
        for seed in range(args.seeds)
    }  # every setting is checked before the first run
    # No switch changes what is observed or which binaries merge.
    law = override(config, args.set)
    observation, population = observation_of(law), population_of(law)
    holdout = open_holdout(
        HoldoutSettings(args.holdout, observation=observation, population=population)
    )
    kept, folder = {}, cache_folder() / "ablation"
    for (part, seed), run in (bar := progress(runs.items(), desc="runs", unit="run")):
        kept[part, seed] = train_and_predict(run, holdout, device, folder)
        bar.set_postfix_str(f"{part or 'base'} {AUC()(holdout.targets, kept[part, seed][0]):.4f}")
    results = ablation_results(args, switches, kept, holdout, device)
    print("\n".join(format_ablation(results)))
    if args.out is not None:
        record_ablation(args.out, results)
        print(f"\nrecorded in {args.out / 'ablation.md'}", file=sys.stderr)
    if args.page:
        update_ablation_page(results)
    return 0


def ablation_results(
    args: argparse.Namespace,
    switches: dict[str, tuple[bool, tuple[str, ...]]],
    kept: dict[tuple[str | None, int], tuple[np.ndarray, float]],
    holdout: Holdout,
    device: torch.device,
) -> dict[str, Any]:
    """Return the contents of ablation.json."""
    from metrics import delong_error

    def of(part: str | None) -> list[np.ndarray]:
        return [kept[part, seed][0] for seed in range(args.seeds)]

    def area(part: str | None) -> float:
        return float(np.mean([AUC()(holdout.targets, logits) for logits in of(part)]))

    rows = []
    for part, (on, settings) in switches.items():
        value, error = estimate_worth(holdout.targets, of(None), of(part), on)
        rows.append(
            {
                "part": part,
                "on": on,
                "settings": list(settings),
                "worth": value,
                "error": error,
                "auc": area(part),
                "seconds": float(np.mean([kept[part, seed][1] for seed in range(args.seeds)])),
            }
        )
    base = {
        "auc": area(None),
        "error": delong_error(holdout.targets, of(None)[0]),
        "seconds": float(np.mean([kept[None, seed][1] for seed in range(args.seeds)])),
    }
    return {
        "format": FORMAT,
        "config": args.config,
        "set": args.set,
        "samples": args.samples,
        "seeds": args.seeds,
        "holdout": len(holdout),
        "device": describe_device(device),
        "versions": versions(),
        "git_revision": git_revision(),
        "base": base,
        "switches": rows,
    }


if __name__ == "__main__":
    run_command(main)
