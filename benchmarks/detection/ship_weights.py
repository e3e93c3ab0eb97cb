"""Write the weights of a finished run as a file of weights/, with a model card beside it.

    python -m benchmarks.detection.ship_weights --config Wave07 --set amp=bf16 \
        --results results/weights --ruler results/weights/ruler/detection.json \
        --out weights/wave07.safetensors

`make weights` trains the runs and calls this. The recipe, the config with its --set, stands in the
file with a digest of all settings that decide what is learnt: a test compares it with what the
config says today. Large tensors are stored in float16.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import configs  # noqa: F401 - importing it registers the experiments
from benchmarks.detection.networks import NetworkScorer
from configuration.config_class import ConfigMeta
from configuration.config_references import load_config
from configuration.overrides import override
from experiments.observation_record import plain_config
from experiments.predictor import Predictor, find_run
from experiments.run_identity import deciding_settings, settings_digest
from experiments.run_records import read_run_config
from experiments.weight_files import SHIPPED, SUFFIX, unpack_weights, write_weight_file
from physics.noise import NoiseGenerator
from predict import load_run
from runtime.command_line import CommandLine, run_command
from runtime.console import configure_logging
from runtime.errors import UserError
from runtime.files import atomic_path, move_aside, read_json_object
from runtime.versions import versions
from simulation.dataset_on_the_fly import SimulatedDataset

LARGEST_FILE = 1_000_000  # bytes, so that a checkout stays small
COMPARED = 64  # windows of noise that the stored weights are compared with the run on


def make_parser() -> CommandLine:
    parser = CommandLine(
        prog="-m benchmarks.detection.ship_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", required=True, help="the experiment that was trained")
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="the settings it was given")
    add("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    add("--ruler", type=Path, required=True, help="detection.json with the score of this run")
    add("--out", type=Path, required=True, help="file to write, e.g. weights/wave07.safetensors")
    add("--overwrite", action="store_true", help="move a file that is there aside")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    configure_logging()
    if args.out.suffix != SUFFIX:
        raise UserError(f"--out {args.out}: a file of weights ends in {SUFFIX}")
    card = args.out.with_suffix(".md")
    there = [path for path in (args.out, card) if path.exists()]
    if there and not args.overwrite:
        raise UserError(
            f"{there[0]} is there already, and nothing was changed: give --overwrite, which moves "
            f"it aside, or name another file with --out"
        )
    config = override(load_config(args.config), args.set)
    folder = args.results / config.name
    check_recipe(config, folder)
    predictor = Predictor(config, find_run(config, folder), torch.device("cpu"))
    score = read_ruler_score(args.ruler, config, folder)
    record = {
        "recipe": {"config": args.config, "set": args.set, "digest": recipe_digest(config)},
        "description": " ".join((load_config(args.config).__doc__ or "").split()),
        "score": score,
        "weights": {
            str(k): r.digest for k, r in zip(predictor.folds, predictor.records, strict=True)
        },
        "learnt_from": [] if learns_from_simulation_alone(config) else None,
        "licence": "MIT",
        "versions": versions(),
    }
    for path in there:
        move_aside(path)
    states = {k: n.state_dict() for k, n in zip(predictor.folds, predictor.networks, strict=True)}
    write_weight_file(args.out, states, plain_config(config), record, half=True)
    size = args.out.stat().st_size
    if size > LARGEST_FILE and args.out.parent.resolve() == SHIPPED:
        args.out.unlink()
        raise UserError(
            f"{args.out} would have {size / 1e6:.2f} MB, more than the {LARGEST_FILE / 1e6:g} MB "
            f"of a file that is shipped: train a smaller network"
        )
    difference = difference_of_stored(predictor, args.out)
    with atomic_path(card) as temporary:
        temporary.write_text(format_card(args.out, config, record, difference))
    print(f"{args.out} ({size / 1e6:.2f} MB) and its model card {card}")
    return 0


def recipe_digest(config: ConfigMeta) -> str:
    """Return a digest of all settings of a config that decide what is learnt."""
    return settings_digest(deciding_settings(plain_config(config)))


def check_recipe(config: ConfigMeta, folder: Path) -> None:
    """See that a run was trained with these settings.

    Raises:
        UserError: with others.
    """
    recorded = deciding_settings(read_run_config(folder))
    if settings_digest(recorded) != recipe_digest(config):
        now = deciding_settings(plain_config(config))
        changed = sorted(k for k in {*now, *recorded} if now.get(k) != recorded.get(k))
        raise UserError(
            f"the run in {folder} was trained with another {', '.join(changed)}: give --set as it "
            f"was trained"
        )


def learns_from_simulation_alone(config: ConfigMeta) -> bool:
    """Return whether no sample of a table reaches the network, only simulated noise and signals."""
    noise = (config.dataset_params or {}).get("noise", "gaussian")
    return config.dataset is SimulatedDataset and noise != "real"


def read_ruler_score(path: Path, config: ConfigMeta, folder: Path) -> dict[str, Any]:
    """Return AUC and efficiencies that `python -m benchmarks.detection` recorded of this run.

    Args:
        folder: of the run.

    Raises:
        UserError: the file does not have them, or has those of other weights.
    """
    content = read_json_object(path, required=("detectors", "holdout"))
    found = content["detectors"].get(config.name)
    if found is None:
        raise UserError(
            f"{path} has no scores of {config.name}: write them with `python -m "
            f"benchmarks.detection --config {config.__name__} --out {path.parent}`"
        )
    if found["settings"]["weights"] != NetworkScorer(config, folder).settings()["weights"]:
        raise UserError(
            f"{path} has the scores of other weights of {config.name}: measure these with `python "
            f"-m benchmarks.detection --config {config.__name__} --results {folder.parent} --out "
            f"{path.parent}`"
        )
    filters = content["detectors"].get("matched filter, log-mean-exp", {})
    return {
        "samples": found["samples"],
        "auc": found["auc"],
        "auc_error": found["auc_error"],
        "efficiencies": {
            probability: {"efficiency": each["efficiency"], "error": each["error"]}
            for probability, each in found["efficiencies"].items()
        },
        "matched_filter_auc": filters.get("auc"),
    }


def difference_of_stored(predictor: Predictor, path: Path) -> float:
    """Return the largest difference of a logit between a run and its stored weights.

    On noise of the curves: whitened noise of another colour has logits of thousands.
    """
    noise = NoiseGenerator(observation=predictor.observation).sample(
        COMPARED, torch.Generator().manual_seed(2021)
    )  # (windows, detector, time)
    stored = load_run(unpack_weights(path), device="cpu")
    return float(np.abs(stored.score(noise).logits - predictor.score(noise).logits).max())


def format_card(
    path: Path, config: ConfigMeta, record: Mapping[str, Any], difference: float
) -> str:
    """Return the model card of a file of weights, Markdown."""
    predictor_input = config.observation.build()
    recipe, score = record["recipe"], record["score"]
    settings = f" --set {' '.join(recipe['set'])}" if recipe["set"] else ""
    lines = [
        f"# {path.stem}: the weights of {config.__name__}",
        "",
        record["description"],
        "",
        "| | |",
        "| --- | --- |",
        f"| file | `{path.name}`, {path.stat().st_size / 1e6:.2f} MB; large tensors in float16, "
        f"which changes a logit by {difference:.1e} at most on {COMPARED} windows of noise |",
        f"| input | strain as recorded, {predictor_input} |",
        f"| recipe | `python train.py --config {recipe['config']} --limit_fold 0{settings}`; "
        f"digest `{recipe['digest']}` |",
        "| data | simulated noise and injections; no recorded strain |"
        if record["learnt_from"] == []
        else "| data | the samples of the run's table |",
        *(f"| weights | fold {fold}, digest `{d}` |" for fold, d in record["weights"].items()),
        f"| ruler | AUC {score['auc']:.3f} ± {score['auc_error']:.3f} on {score['samples']:,} "
        f"samples (`python -m benchmarks.detection --config {recipe['config']}`); "
        + "; ".join(
            f"{e['efficiency']:.3f} ± {e['error']:.3f} of the signals found at a false-alarm "
            f"probability of {p}"
            for p, e in score["efficiencies"].items()
        )
        + " |",
    ]
    if score["matched_filter_auc"] is not None:
        lines.append(f"| matched filters there | AUC {score['matched_filter_auc']:.3f} |")
    lines += [
        f"| licence | {record['licence']} |",
        f"| versions | {', '.join(f'{name} {v}' for name, v in record['versions'].items())} |",
        "",
        "```sh",
        f"python predict.py --weights {path.stem} --data new_samples/ --out scores.csv",
        f"python detect.py --weights {path.stem} --strain H1=FILE L1=FILE",
        "```",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
