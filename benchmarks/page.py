"""Put the recorded figures into docs/explanation/performance.md: `python -m benchmarks.page`.

Five of the comparisons with other packages go into README.md as well. Everything between the marks
of a section is generated from benchmarks/results/*.json, and so are the plots. The text outside of
the marks is left alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import FIGURES, RESULTS, ROOT
from benchmarks.harness.measurements import format_side, format_spread, markdown_table
from benchmarks.harness.result_files import (
    Results,
    format_conditions,
    format_measurements,
    list_records,
    load_results,
    measurements_of,
    replace_between_marks,
)
from benchmarks.training import epoch_on_paper as on_paper
from benchmarks.training.growth import draw_recorded_curves
from benchmarks.training.growth_plots import plot_paths
from runtime.command_line import CommandLine, run_command
from runtime.files import atomic_path

PAGE = ROOT / "docs" / "explanation" / "performance.md"
README = ROOT / "README.md"
NOTHING = "Nothing is recorded yet: run `python -m benchmarks`."
NONE_ON_PAPER = (
    "Nothing is recorded yet: run `python -m benchmarks.training.epoch_on_paper --out "
    "benchmarks/results`."
)
# The comparisons with other packages that stand before the others, and what repeats each.
COMMANDS = {
    "ml4gw.whitening": "ml4gw",
    "bilby.fresh": "bilby",
    "nnaudio.resized_08_aug_4": "nnAudio",
    "timm.training_step": "timm",
    "torch.loader.2": "torch",
}
# On other pages of docs/explanation, or of no device.
ELSEWHERE = (
    "detection.json",
    "ablation.json",
    "blips.json",
    "blips_trained.json",
    "glitch_ranking.json",
    "mdc.json",
    on_paper.RECORD,
)
NO_GPU = [
    "### A CUDA GPU",
    "",
    "Not measured: none was at hand. `python -m benchmarks` and `python -m benchmarks.page` on a "
    "machine with one fills this in.",
    "",
]


def section_marks(section: str) -> tuple[str, str]:
    """Return the lines that mark the beginning and the end of a section."""
    return f"<!-- {section}: python -m benchmarks.page -->", f"<!-- {section} end -->"


def load_all_results(folder: Path) -> list[tuple[Path, Results]]:
    """Return every device's results with their file, CPUs first."""
    paths = [path for path in list_records(folder) if path.name not in ELSEWHERE]
    found = [(path, load_results(path)) for path in paths]
    # False sorts before True; within a kind the order of the files stays.
    return sorted(found, key=lambda each: each[1]["device"]["kind"] != "cpu")


# --- the sections ----------------------------------------------------------------------------


def results_section(path: Path, results: Results) -> list[str]:
    """Return the table of a device, with a link to all of its figures."""
    link = os.path.relpath(path.with_suffix(".md"), PAGE.parent)
    results = only(results, lambda name: name != "rivals")  # which have a section of their own
    return [
        f"### {results['device']['name']}, {results['device']['cores']} cores",
        "",
        f"{format_conditions(results)} All figures: [{path.stem}]({link}).",
        "",
        *format_measurements(results),
        "",
    ]


def only(results: Results, wanted: Callable[[str], bool]) -> Results:
    """Return the results with the entries of these benchmarks alone."""
    entries = {name: entry for name, entry in results["benchmarks"].items() if wanted(name)}
    return {**results, "benchmarks": entries}


def make_details_section(name: str) -> Callable[[Path, Results], list[str]]:
    """Return a function that formats the tables of one benchmark below the device's name."""

    def section(_: Path, results: Results) -> list[str]:
        entry = results["benchmarks"].get(name)
        if entry is None:
            return []
        lines = [f"### {results['device']['name']}, {results['device']['cores']} cores", ""]
        for title, detail in entry["details"].items():
            lines += [f"{title}:", "", *detail, ""]
        return lines

    return section


def rivals_section(path: Path, results: Results) -> list[str]:
    """Return the comparisons with other packages: five of them, then all."""
    alone = only(results, lambda name: name == "rivals")
    lines = make_details_section("rivals")(path, alone)
    if not lines:
        return []
    return [
        *lines[:2],
        format_conditions(alone),
        "",
        *chosen_rivals(alone),
        "",
        "All of them, and how far the results differ:",
        "",
        *format_measurements(alone),
        "",
        *lines[2:],
    ]


def chosen_rivals(results: Results) -> list[str]:
    """Return a table of the comparisons that stand before the others; nothing where none is."""
    body = [
        (
            row.what,
            row.against,
            format_side(row.ours, row.side_unit),
            format_side(row.theirs, row.side_unit),
            format_spread(row.figure, row.unit),
            f"`python -m benchmarks.rivals {COMMANDS[row.key]}`",
        )
        for row, _ in measurements_of(results)
        if row.key in COMMANDS
    ]
    head = ("what", "against", "ours", "theirs", "times as fast", "command")
    return markdown_table(head, body) if body else []


def growth_section(path: Path, results: Results) -> list[str]:
    """Return a device's plots, and its tables folded below them."""
    lines = make_details_section("growth")(path, results)
    if not lines:
        return []
    pictures = [
        line
        for picture in plot_paths(results, FIGURES)
        # An empty line between pictures, or Markdown sets them side by side.
        for line in (f"![{picture.stem}]({os.path.relpath(picture, PAGE.parent)})", "")
    ]
    folded = ["<details>", "<summary>The same as tables</summary>", "", *lines[2:], "</details>"]
    return [*lines[:2], *pictures, *folded, ""]


SECTIONS: dict[str, Callable[[Path, Results], list[str]]] = {
    "rivals": rivals_section,
    "results": results_section,
    "profile": make_details_section("profile_step"),
    "growth": growth_section,
    "full_size": make_details_section("full_size"),
    "export": make_details_section("export"),
}


def replace_sections(text: str, every: Sequence[tuple[Path, Results]]) -> str:
    """Return the page with new contents between its marks.

    Raises:
        UserError: a mark is missing.
    """
    for name, section in SECTIONS.items():
        begin, end = section_marks(name)
        lines = [line for path, results in every for line in section(path, results)]
        kinds = {results["device"]["kind"] for _, results in every}
        # Said only where CPUs are recorded; of an empty record NOTHING says enough.
        if name == "results" and kinds == {"cpu"}:
            lines += NO_GPU
        text = replace_between_marks(text, begin, end, lines or [NOTHING, ""], PAGE)
    begin, end = section_marks("on_paper")
    return replace_between_marks(
        text, begin, end, on_paper.page_lines() or [NONE_ON_PAPER, ""], PAGE
    )


def replace_rivals(text: str, every: Sequence[tuple[Path, Results]]) -> str:
    """Return the README with the comparisons of the CPU on which they were made last.

    Raises:
        UserError: a mark is missing.
    """
    alone = [only(results, lambda name: name == "rivals") for _, results in every]
    made = [each for each in alone if each["benchmarks"] and each["device"]["kind"] == "cpu"]
    lines = [NOTHING, ""]
    if made:
        last = max(made, key=lambda each: each["benchmarks"]["rivals"]["date"])
        name = f"{last['device']['name']}, {last['device']['cores']} cores"
        lines = [f"{name}: {format_conditions(last)}", "", *chosen_rivals(last), ""]
    return replace_between_marks(text, *section_marks("rivals"), lines, README)


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandLine(
        prog="-m benchmarks.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    every = load_all_results(RESULTS)
    for path, results in every:
        if "growth" in results["benchmarks"]:
            draw_recorded_curves(path)
    text = replace_sections(PAGE.read_text(), every)
    # Both before either is written: a mark may be missing in one of them.
    pages = {PAGE: text, README: replace_rivals(README.read_text(), every)}
    for path, content in pages.items():
        with atomic_path(path) as temporary:
            temporary.write_text(content)
    print(f"{PAGE} holds the figures of {len(every)} devices, {README} comparisons of one")
    return 0


if __name__ == "__main__":
    run_command(main)
