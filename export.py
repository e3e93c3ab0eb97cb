"""Write a finished run as one file that needs nothing of this project.

    python export.py --run results/demo --format onnx          # results/demo/demo.onnx

onnx holds transforms, front-end and the networks of all folds as one graph from strain to
probability, for any batch size; torch the same as a program for torch.export.load; safetensors the
weights, with the config in its metadata, which `predict.py --weights` and `detect.py --weights`
take. The file is compared with the run, on noise and on samples of its test table, and refused if a
logit differs by more than 1e-4; where float32 itself is not so exact, by the same network in
float64. A model card lies beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command_line import CommandLine, run_command
from runtime.console import LOGGER, configure_logging
from runtime.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from experiments.predictor import Predictor

COMPARED = 16  # samples of the run's test table


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--run", type=Path, required=True, help="folder of the run, e.g. results/demo")
    add(
        "--format",
        default="onnx",
        help="onnx (strain to probability, for any batch size), torch (the same for "
        "torch.export.load) or safetensors (weights, the config in the metadata); needs the extra "
        "export (%(default)s)",
    )
    add("--out", type=Path, help="file to write (default: <run>/<name> with the format's ending)")
    add("--allow_unfinished", action="store_true", help="use folds whose training has not ended")
    add("--overwrite", action="store_true", help="move a file that is there aside")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    configure_logging()
    from experiments.export_check import check_export
    from experiments.export_files import (
        SUFFIXES,
        make_card,
        measure_speed,
        open_export,
        write_export,
    )
    from predict import load_run
    from runtime.files import atomic_path, move_aside

    if args.format not in SUFFIXES:
        raise UserError(f"--format {args.format}: expected {', '.join(SUFFIXES)}")
    suffix = SUFFIXES[args.format]
    if args.out is not None and args.out.suffix != suffix:
        raise UserError(f"--out {args.out}: a file of the format {args.format} ends in {suffix}")
    predictor = load_run(args.run, allow_unfinished=args.allow_unfinished, device="cpu")
    out = args.out or args.run / f"{predictor.config.name}{suffix}"
    card = out.with_name(f"{out.name}.md")
    there = [path for path in (out, card) if path.exists()]
    if there and not args.overwrite:
        raise UserError(
            f"{there[0]} is there already, and nothing was changed: name another file with --out, "
            f"or give --overwrite, which moves it aside"
        )
    # Under another name until it is found to say what the run says.
    unchecked = out.with_name(f".unchecked.{out.name}")
    try:
        LOGGER.info(f"writing {predictor.config.__name__} as {args.format}")
        write_export(predictor, args.format, unchecked)
        LOGGER.info("comparing its logits with those of the run")
        score = open_export(args.format, unchecked, predictor)
        comparison = check_export(predictor, score, read_test_samples(predictor))
        LOGGER.info("timing it")
        speed = measure_speed(predictor, score)
        words = comparison.in_words()
        text = make_card(predictor, args.run, args.format, unchecked, words, speed)
        for path in there:
            move_aside(path)
        with atomic_path(card) as temporary:
            temporary.write_text(text.replace(unchecked.name, out.name))
        unchecked.replace(out)
    finally:
        unchecked.unlink(missing_ok=True)
    print(
        f"{out} ({out.stat().st_size / 1e6:.1f} MB): {len(predictor.names)} folds of "
        f"{predictor.config.__name__}, whose logits it gives to {comparison.largest:.1e}; "
        f"{speed['export']:.0f} samples a second, the run itself {speed['torch']:.0f}. "
        f"Its model card is {card}." + ("" if comparison.is_near else f" {comparison.judgement()}.")
    )
    return 0


def read_test_samples(predictor: Predictor) -> np.ndarray | None:
    """Return some samples of the run's test table, None where its files are not there."""
    import numpy as np

    from data.sample_files import load_index, read_strain

    config = predictor.config
    if not Path(config.test_path).is_file():
        return None
    paths = load_index(config.test_path, config.data_root, ("id",))["path"][:COMPARED]
    if not all(Path(path).is_file() for path in paths):
        return None
    return np.stack([read_strain(path, predictor.observation.sampling) for path in paths])


if __name__ == "__main__":
    run_command(main)
