"""Score new samples with the networks of a finished run.

    python predict.py --run results/demo --data new_samples/ --out scores.csv
    python predict.py --config Demo --data table.csv --out scores.parquet --tta
    python predict.py --weights wave07 --data table.csv --out scores.csv   # shipped: no training

--data takes a table (.csv with the columns id and path), a folder or several .npy files of one
sample each, one .npy array (n, detector, time), or a cache (.f32). Neither targets nor the training
data are needed. Writes id, probability, its spread over the folds and each fold's probability; of a
run with several classes, labels, numbers or side targets a column of each, with its spread. Any
number of samples is scored in constant memory; the same command continues after an interruption.

From Python, strain (n, detector, time) to probabilities (n,):

    from predict import load_run

    predictor = load_run("results/demo")
    probability = predictor(waveforms)
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging, format_seconds, progress
from runtime.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from experiments.new_samples import NewSamples
    from experiments.predictor import Predictor


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--run", type=Path, help="folder of the run, e.g. results/demo")
    add("--config", help="instead of --run: an experiment, whose run is <results>/<name>")
    add(
        "--results",
        type=Path,
        default=Path("results"),
        help="with --config: all results (%(default)s)",
    )
    add(
        "--weights",
        help="instead of --run: weights that are shipped in weights/, such as wave07, or a file "
        "that export.py --format safetensors wrote",
    )
    add(
        "--data",
        nargs="+",
        required=True,
        help="a table with the columns id and path, a folder, .npy files of one sample each, one "
        ".npy array (n, detector, time), or a cache",
    )
    add(
        "--out",
        type=Path,
        required=True,
        help="scores.csv, .parquet (extra parquet), or .npy (the folds' probabilities)",
    )
    add("--tta", action="store_true", help="average over the config's test-time views")
    add("--allow_unfinished", action="store_true", help="use folds whose training has not ended")
    add("--overwrite", action="store_true", help="move other scores in --out aside")
    add("--batch_size", type=int, default=64, help="samples forwarded at once (%(default)d)")
    add("--gpu", default="", help="device id")
    add(
        "--progress_bar",
        action="store_true",
        help="draw progress bars even if stderr is not a terminal",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if sum(given is not None for given in (args.run, args.config, args.weights)) != 1:
        raise UserError("give one of --run results/NAME, --config NAME and --weights NAME")
    if args.batch_size < 1:
        raise UserError(f"--batch_size {args.batch_size}: expected 1 or more")
    configure_logging()
    import configs  # noqa: F401 - importing it registers the experiments
    from experiments.new_samples import open_samples
    from experiments.score_files import PART, ScoreFile
    from experiments.whitened_level import WhitenedLevel
    from train import choose_device

    folder = find_folder(args)
    predictor = load_run(
        folder,
        tta=args.tta,
        allow_unfinished=args.allow_unfinished,
        device=choose_device(args.gpu),
        batch_size=args.batch_size,
    )
    samples = open_samples(args.data, predictor.observation.sampling)
    file = ScoreFile(args.out, identify(predictor, samples), predictor.outputs)
    if file.is_finished(args.overwrite):
        print(f"{args.out} holds these very scores: nothing to do.")
        return 0
    # A norm_factor divides strain before it is whitened.
    level = WhitenedLevel(None if predictor.norm_factor else predictor.preparation.transform)
    started, count = time.monotonic(), -(-len(samples) // PART)
    with file.begun() as done:
        if done:
            LOGGER.info(f"{min(done * PART, len(samples))} of {len(samples)} samples are scored")
        bar = progress(
            total=len(samples),
            desc=f"{predictor.config.name} prediction",
            unit="sample",
            show=True if args.progress_bar else None,
        )
        bar.update(min(done * PART, len(samples)))
        for number in range(done, count):
            last = min((number + 1) * PART, len(samples))
            file.save_part(number, score_part(predictor, samples, number * PART, last, bar))
        bar.close()
        if warning := level.format_warning():
            LOGGER.warning(f"{samples.what}: {warning}")
        seen = find_seen(predictor, samples)
        file.finish(samples.ids, predictor.names, seen, count)
    print(format_summary(args.out, predictor, samples, seen, time.monotonic() - started))
    return 0


def load_run(
    folder: str | Path,
    *,
    tta: bool = False,
    allow_unfinished: bool = False,
    device: str | torch.device | None = None,
    batch_size: int = 64,
) -> Predictor:
    """Return the predictor of a run.

    Args:
        folder: results/<name>, which holds config.json and the weights of the folds.
        tta: average over the config's test-time views.
        allow_unfinished: use folds whose training has not ended.
        device: None takes a GPU where there is one.
        batch_size: samples forwarded at once.

    Raises:
        UserError: the folder is not one of a run, or as in `Predictor` and `find_run`.
    """
    import torch

    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from experiments.predictor import Predictor, find_run

    folder = Path(folder)
    recorded = folder / "config.json"
    if not recorded.is_file():
        raise UserError(
            f"{folder} holds no config.json: name the folder of a run, such as results/demo"
        )
    config = load_config(str(recorded))
    records = find_run(config, folder, allow_unfinished)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    views = config.views if tta else ("identity",)
    return Predictor(config, records, torch.device(device), views, batch_size)


def find_folder(args: argparse.Namespace) -> Path:
    """Return the run directory that the arguments name.

    Raises:
        UserError: there is no such experiment, or no such file of weights.
    """
    if args.run is not None:
        return args.run
    if args.weights is not None:
        from experiments.weight_files import find_weight_file, unpack_weights

        return unpack_weights(find_weight_file(args.weights))
    from configuration.config_references import load_config

    return args.results / load_config(args.config).name


def score_part(predictor: Predictor, samples: NewSamples, first: int, last: int, bar) -> np.ndarray:
    """Return the logits of some samples, read batch by batch, as `Predictor.score` has them.

    Raises:
        UserError: one is missing or damaged, holds NaN, or has no finite score.
    """
    import numpy as np

    from experiments.unscored_samples import UnscoredError

    found = []
    for start in range(first, last, predictor.batch_size):
        stop = min(start + predictor.batch_size, last)
        try:
            strain = samples.read(start, stop)
            broken = ~np.isfinite(strain).all((1, 2))
            if broken.any():
                name = samples.ids[start + int(broken.argmax())]
                raise UserError(
                    f"{samples.what}: sample {name} holds NaN or infinite strain: restore it, and "
                    f"the same command continues; or leave it out"
                )
            found.append(predictor.score(strain, samples.ids[start:stop]).logits)
        except UnscoredError as error:
            raise UserError(
                f"{samples.what}: {error}: restore them, and the same command continues; or leave "
                f"them out"
            ) from error
        except UserError as error:
            if samples.what in str(error):
                raise
            names = ", ".join(samples.ids[start:stop][:3])
            raise UserError(f"{samples.what}, samples {names}, …: {error}") from error
        bar.update(stop - start)
    return np.concatenate(found, axis=1)


def identify(predictor: Predictor, samples: NewSamples) -> dict:
    """Return all that decides the scores: digests of weights and samples, settings, views."""
    import hashlib

    from experiments.observation_record import plain_config
    from experiments.run_identity import deciding_settings, settings_digest

    ids = hashlib.blake2b("\n".join(samples.ids).encode(), digest_size=16).hexdigest()
    return {
        "weights": {
            # '0' of fold0, as in records of runs without seeds
            name.removeprefix("fold"): record.digest
            for name, record in zip(predictor.names, predictor.records, strict=True)
        },
        "samples": ids,
        "strain": samples.content_digests(),
        "settings": settings_digest(deciding_settings(plain_config(predictor.config))),
        "views": list(predictor.view_names),
    }


def find_seen(predictor: Predictor, samples: NewSamples) -> np.ndarray | None:
    """Return (n,) bool, which samples a network has learnt from; None where that is not known."""
    import numpy as np

    from experiments.samples_learnt_from import learnt_samples

    if samples.table is None:
        return None  # row numbers are no ids
    seen = np.zeros(len(samples), bool)
    for record in predictor.records:
        learnt = learnt_samples(record)
        if learnt is None:
            return None
        seen |= learnt.find_seen(samples.table, None, predictor.observation.sampling)
    return seen


def format_summary(
    out: Path, predictor: Predictor, samples: NewSamples, seen: np.ndarray | None, seconds: float
) -> str:
    """Return in a few sentences what was scored, and whether it was new to the networks."""
    folds = len(predictor.names)
    text = (
        f"{len(samples)} samples of {samples.what} scored by {folds} "
        f"fold{'s' if folds > 1 else ''} of {predictor.config.__name__} in "
        f"{format_seconds(seconds)}: {out}."
    )
    if seen is None:
        return f"{text} Whether the networks have learnt from some of them is not known."
    if not seen.any():
        return f"{text} The networks have learnt from none of them."
    return (
        f"{text} {int(seen.sum())} of them are among the samples that the networks have learnt "
        f"from (column learnt_from): their scores are flattering."
    )


if __name__ == "__main__":
    run_command(main)
