"""Train an experiment against the best that is known of a hold-out: AUC against seconds.

The hold-out is that of `python -m benchmarks.detection`: 4,000 simulated samples that no training
sees. Its record holds the AUC of the near-optimal statistic on the same samples, the ruler.
Training samples are injections drawn on the device, as many in all as the config says, with a
validation after each of some equal parts, so that the curve is there whenever the run is stopped.

    python -m benchmarks.gpu_check.ruler --config Wave07 --seconds 60 --out results/ruler
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from benchmarks import RESULTS
from benchmarks.detection.holdout import Holdout, HoldoutSettings, open_holdout
from benchmarks.harness.machine import find_device
from benchmarks.harness.timed_steps import set_training_flags
from configuration.class_with_arguments import Part, thaw
from configuration.config_class import ConfigMeta
from data.batch_order import CountedBatchSampler
from datasets import Batch
from experiments.building import observation_of, population_of
from experiments.fold_trainer import build_fold_trainer, build_network
from experiments.run_options import RunOptions
from runtime.command_line import CommandLine, run_command
from runtime.errors import UserError
from runtime.files import read_json, write_json
from runtime.seeds import seed_everything
from training.fit_state import TrainerState
from transforms import Whiten

PARTS = {"Wave07": 16, "Wave01": 40}  # validations of the whole training
RULER = "near-optimal, 180 templates"  # the key of its entry in the record
NEAR = 0.005  # AUC below the ruler that counts as having reached it: one standard error


class HoldoutSet(Dataset):
    """The samples of a hold-out, held on a device.

    Args:
        holdout: the samples.
        device: that they are validated on.
    """

    on_device = True  # no reader processes

    def __init__(self, holdout: Holdout, device: torch.device) -> None:
        self.strain = holdout.batch(0, len(holdout), device)
        self.targets = torch.from_numpy(holdout.targets).float()[:, None].to(device)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        # Validation reads rows in their order.
        rows = slice(indices[0], indices[-1] + 1)
        return {
            "waveform": self.strain[rows],
            "target": self.targets[rows],
            "index": torch.tensor(list(indices)),
        }


def divided(config: ConfigMeta, rehearse: bool) -> ConfigMeta:
    """Return the same training in epochs of an equal part each, each of which is validated."""
    drawn = config.dataset_params["samples_per_epoch"] * config.num_epochs
    parts = PARTS.get(config.__name__, 20)
    params = dict(config.dataset_params)
    settings: dict[str, Any] = {"num_epochs": parts}
    if rehearse:
        parts, drawn = 2, 32
        # Strain is drawn and then whitened, as the fit of whitened signals takes seconds.
        del params["whiten"]
        whiten = Part(Whiten, decimate=2)
        train = config.transforms["train"]
        settings = {
            "num_epochs": parts,
            "batch_size": 8,
            "transforms": {"train": (whiten, *train), "test": (whiten,)},
        }
        params |= {"bank_size": 8, "pool": 8}
        if "pretrained" in config.model_params:
            small = {"templates": 5, "basis": 7, "bank_size": 8}
            settings["model_params"] = {**config.model_params, **small}
    settings["dataset_params"] = params | {"samples_per_epoch": drawn // parts}
    return ConfigMeta(f"Divided{config.__name__}", (config,), settings, register=False)


def train_to_ruler(
    config: ConfigMeta, device: torch.device, folder: Path, seconds: float, rehearse: bool
) -> TrainerState:
    """Train until the end of the schedule, or for so many seconds; fold0.json has the curve.

    Args:
        seconds: counted from here, the preparations included.

    Raises:
        UserError: LALSuite is needed and absent.
    """
    started = time.monotonic()
    settings = HoldoutSettings(samples=24, bank_size=8) if rehearse else HoldoutSettings()
    valid_set = HoldoutSet(open_holdout(settings, show_progress=False), device)
    config = divided(config, rehearse)
    set_training_flags(device)
    seed_everything(config.seed, 0, "weights")
    options = RunOptions(results=folder, show_progress=False)
    network = build_network(config, options, device, 0, training=True, pretrained=True)
    train_set = config.dataset(
        [],  # every sample is drawn
        device=device,
        observation=observation_of(config),
        population=population_of(config),
        **thaw(config.dataset_params),
    )
    ready = time.monotonic() - started
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "ruler.json", {"ready_seconds": ready, "rehearsed": rehearse})

    def watch(state: TrainerState) -> str | None:
        return "its time is over" if time.monotonic() - started > seconds else None

    sampler = CountedBatchSampler(len(train_set), config.batch_size, shuffle=True)
    trainer = build_fold_trainer(
        config, options, device, folder, 0, network, sampler.num_batches, watch
    )
    return trainer.fit(train_set, valid_set)


def recorded_ruler() -> dict[str, float] | None:
    """Return `auc` and `auc_error` of the ruler on the hold-out; None where none is recorded."""
    path = RESULTS / "detection.json"
    if not path.is_file():
        return None
    entry = read_json(path)["detectors"].get(RULER)
    return None if entry is None else {key: entry[key] for key in ("auc", "auc_error")}


def read_curve(folder: Path) -> dict[str, Any]:
    """Return the curve that a training has left so far, and the ruler.

    Returns:
        `points`, of seconds of training, samples seen and AUC each; `ready_seconds`, that banks and
        hold-out took before; `ruler`, None where nothing is to be compared with.
    """
    history, ready = folder / "fold0.json", folder / "ruler.json"
    if not ready.is_file():
        return {"points": []}
    content = json.loads(ready.read_text(encoding="utf-8"))
    curve = {**content, "points": [], "ruler": None}
    if not content["rehearsed"]:
        curve["ruler"] = recorded_ruler()
    if not history.is_file():
        return curve
    rows = read_json(history)["history"]
    seconds = itertools.accumulate(row["train_seconds"] for row in rows)
    samples = itertools.accumulate(row["train_seconds"] * row["samples_per_second"] for row in rows)
    curve["points"] = [
        {"seconds": spent, "samples": round(seen), "auc": row["valid_metric"]}
        for row, spent, seen in zip(rows, seconds, samples, strict=True)
    ]
    return curve


def describe_curve(name: str, curve: dict[str, Any]) -> list[str]:
    """Return a curve as Markdown."""
    points = curve["points"]
    if not points:
        return []
    lines = [
        f"{name}, validated on the hold-out; {curve['ready_seconds']:.0f} s before the first step."
    ]
    ruler = curve.get("ruler")
    if ruler is not None:
        reached = [p for p in points if p["auc"] >= ruler["auc"] - NEAR]
        when = f"after {reached[0]['seconds']:.1f} s" if reached else "not in this time"
        lines[0] += (
            f" The ruler, the near-optimal statistic on the same samples, is {ruler['auc']:.4f} ± "
            f"{ruler['auc_error']:.4f}; within {NEAR} of it {when}."
        )
    lines += ["", "| seconds of training | samples | AUC |", "| --- | --- | --- |"]
    lines += [f"| {p['seconds']:.1f} | {p['samples']:,} | {p['auc']:.4f} |" for p in points]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandLine(
        prog="-m benchmarks.gpu_check.ruler",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="NAME", help="the experiment")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU, if there is one)")
    parser.add_argument(
        "--seconds", type=float, default=120.0, metavar="S", help="to train at most (default: 120)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the curve")
    parser.add_argument("--rehearse", action="store_true", help="tiny, to see that it works")
    args = parser.parse_args(argv)
    import configs  # noqa: F401 - makes their names known

    config = ConfigMeta.registry.get(args.config)
    if config is None or "samples_per_epoch" not in config.dataset_params:
        raise UserError(
            f"--config {args.config}: expected an experiment that draws its training samples, "
            f"such as Wave07"
        )
    state = train_to_ruler(config, find_device(args.device), args.out, args.seconds, args.rehearse)
    print("\n".join(describe_curve(args.config, read_curve(args.out))))
    return 0 if state.history else 1


if __name__ == "__main__":
    run_command(main)
