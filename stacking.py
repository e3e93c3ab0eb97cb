"""Blend the runs of a results folder into one submission: `python stacking.py`.

Joins the out-of-fold and test logits of the runs by sample id, fits each stacking method on all
folds but one and scores it on the one left out, compares it with the best single run and with the
plain mean, and writes to --out (another stack that is there is moved into stack.<time>/)

    submission.csv         (id, target) in Kaggle's format
    stack.json             scores, intervals, weights, what was used, versions
    stack.csv              the table of scores
    stack_outoffolds.npy   (n, 1) float64, the out-of-fold probabilities of the stack
    stack_ids.npy          (n,) text, the samples of its rows
"""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.command_line import CommandLine, run_command
from runtime.console import configure_logging
from runtime.errors import UserError
from stack.blend import StackSettings, blend_runs
from stack.files import check_output_folder, write_stack
from stack.methods import METHODS
from stack.report import format_score_table, stack_paragraph


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--results", type=Path, default=Path("results"), help="folder of the runs (results)")
    add(
        "--experiments",
        nargs="+",
        default=[],
        metavar="NAME",
        help="folders or config classes to stack, those of a file (mine.py:MyTry) or the "
        "config.json of a run as well (the published stack's, or else all)",
    )
    add(
        "--method",
        default="auto",
        metavar="METHOD",
        help=f"auto (the simplest within one standard error of the best, or the best single run if "
        f"that method is not better than it) or one of {', '.join(METHODS)}",
    )
    add("--train_csv", type=Path, help="table of training targets (that of the runs)")
    add(
        "--sample_submission",
        type=Path,
        help="Kaggle's file of that name (looked for beside the runs' test table)",
    )
    add("--out", type=Path, help="where to write (the folder of --results)")
    add("--no_tta", action="store_true", help="use the logits without test-time views throughout")
    add(
        "--allow_unfinished",
        action="store_true",
        help="also stack folds whose training had not ended; stack.json and the report say so",
    )
    add("--resamples", type=int, default=1000, help="bootstrap samples (1000)")
    add("--seed", type=int, default=0, help="of the bootstrap and of methods that draw (0)")
    add(
        "--progress_bar",
        action="store_true",
        help="draw progress bars even if stderr is not a terminal",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    out = args.results if args.out is None else args.out
    # Before the runs are read and stacked, which takes minutes.
    check_output_folder(out)
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: expected 0 or more")
    configure_logging()
    import configs  # noqa: F401 - registers the experiments; not at the top, as --help needs none

    # The wing knows no argparse, so that a notebook can call it as well.
    settings = StackSettings(
        experiments=args.experiments,
        method=args.method,
        train_csv=args.train_csv,
        sample_submission=args.sample_submission,
        tta=not args.no_tta,
        allow_unfinished=args.allow_unfinished,
        resamples=args.resamples,
        seed=args.seed,
    )
    stack = blend_runs(args.results, settings, True if args.progress_bar else None)
    write_stack(stack, out)
    print(f"\n{format_score_table(stack)}\n\n{stack_paragraph(stack, out)}")
    return 0


if __name__ == "__main__":
    run_command(main)
