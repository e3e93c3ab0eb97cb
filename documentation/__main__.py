"""Write the parts of docs/reference/ that come from the code: `python -m documentation`.

Everything between the marks of a section is generated; the text outside of them is left alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness.result_files import replace_between_marks
from documentation import ROOT, class_pages, commands_page, settings_page
from experiments.settings import Config
from runtime.command_line import CommandLine, run_command
from runtime.files import atomic_path

END = "<!-- end -->"

# The sections of each page, and the function that returns the lines of each.
PAGES: dict[Path, dict[str, Callable[[], list[str]]]] = {
    settings_page.PAGE: {"settings": partial(settings_page.format_settings, Config)},
    commands_page.PAGE: commands_page.SECTIONS,
    commands_page.PAGE_OF_BENCHMARKS: commands_page.SECTIONS_OF_BENCHMARKS,
    **{
        page.path: {"classes": partial(class_pages.format_page, page)} for page in class_pages.PAGES
    },
}


def generate(path: Path) -> str:
    """Return a page with new contents between its marks.

    Raises:
        UserError: a mark is missing, or a setting, flag or argument says not what it means.
    """
    text = path.read_text()
    for section, lines in PAGES[path].items():
        begin = f"<!-- {section}: python -m documentation -->"
        text = replace_between_marks(text, begin, END, lines(), path)
    return text


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandLine(
        prog="-m documentation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    for path in PAGES:
        text = generate(path)
        changed = text != path.read_text()
        if changed:
            with atomic_path(path) as temporary:
                temporary.write_text(text)
        print(f"{path.relative_to(ROOT)}: {'written' if changed else 'up to date'}")
    return 0


if __name__ == "__main__":
    run_command(main)
