"""Write one HTML page that shows every experiment in a results folder.

The page needs no network and no other file. See docs/explanation/report.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.command_line import CommandLine, run_command
from runtime.errors import UserError
from runtime.files import atomic_path, move_aside, remove_temporaries
from runtime.locks import hold

MARK = b'<meta name="generator" content="g2net-toolkit">'  # in the head of every page
LONGEST_HEAD = 4096  # bytes, within which the mark is


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(prog="report.py", description=__doc__)
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="the folder that holds the experiments (results)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the page to write (index.html in that folder)"
    )
    parser.add_argument(
        "--searches",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="list these searches of detect.py too; those in the results folder are found",
    )
    parser.add_argument(
        "--progress_bar",
        action="store_true",
        help="draw a progress bar even if stderr is not a terminal",
    )
    return parser


def check_output_file(out: Path) -> None:
    """Refuse to write the page over anything but an earlier page.

    Raises:
        UserError: `out` is a folder, or a file that this command has not written.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file, e.g. {out / 'index.html'}")
    # --out may name any file, and nothing that others wrote is overwritten.
    if out.is_file() and MARK not in out.read_bytes()[:LONGEST_HEAD]:
        raise UserError(f"--out {out} is not a page of this report: name another file, or move it")


def keep_page_of_other_results(out: Path, results: Path) -> None:
    """Rename the page that is at `out` if it shows another results folder."""
    from markupsafe import escape  # as the page itself escapes it

    title = f"<title>Experiments in {escape(str(results))}</title>"
    if not out.is_file() or title.encode("utf-8", "replace") in out.read_bytes()[:LONGEST_HEAD]:
        return
    print(f"the page of another results folder that was there is now {move_aside(out)}")


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    out = args.out or args.results / "index.html"
    check_output_file(out)
    # Here, so that --help answers without pandas and scikit-learn.
    from reporting.data import read_all_runs
    from reporting.page import page_html
    from reporting.searches import read_searches
    from reporting.stack import read_stack
    from reporting.tuning import read_studies

    searches = read_searches(args.results, args.searches)
    show = True if args.progress_bar else None
    runs = read_all_runs(args.results, show, may_be_none=bool(searches))
    studies = read_studies(args.results)
    stack = read_stack(args.results)
    text = page_html(runs, stack, args.results, studies, searches, out.parent)
    # A folder's name may hold bytes that are not UTF-8, which Python keeps as lone surrogates.
    content = text.encode("utf-8", "replace")
    try:
        # Two reports at once: the second waits and then replaces the page of the first.
        with hold(out.with_name(f".{out.name}.lock"), wait=True):
            remove_temporaries(out.parent, [out.name])  # of a killed process
            keep_page_of_other_results(out, args.results)
            with atomic_path(out) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error}): name another with --out") from error
    noted = [run.name for run in runs if run.notes]
    listed = f", {len(searches)} search{'es' * (len(searches) != 1)}" if searches else ""
    experiments = f"{len(runs)} experiment{'s' * (len(runs) != 1)}"
    print(f"{out}: {experiments}{listed}, {len(content) / 1e6:.1f} MB")
    if noted:
        print(f"with notes on what is missing: {', '.join(noted)}")
    return 0


if __name__ == "__main__":
    run_command(main)
