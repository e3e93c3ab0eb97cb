"""The pages are true: links lead somewhere, named files and commands exist, the picture is real."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_house
from paths import ROOT

from training.fit_state import TrainerState, pack_checkpoint

PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# `python train.py` and `python -m benchmarks.page`, also within a line of a shell
COMMAND = re.compile(r"python (?:-m ([\w.]+)|([\w/]+\.py))")
# `experiments/settings.py` and the like, in backticks: a path with a folder, or a Python file
NAMED_FILE = re.compile(r"`((?:[\w-]+/)+[\w.-]*|\w+\.py)`")
# What commands write is not in the checkout, and neither is what a reader brings along.
WRITTEN = (
    "input/",
    "results/",
    "site/",
    "tensorboard/",
    "train/",
    "test/",
    "detect/",
    "dry_run/",
    "background/",
    "foreground/",
    "segments/",
)
IN_FILES_OF_OTHERS = ("strain/Strain",)  # a data set within an HDF5 file
MODULES_OF_OTHERS = ("pip", "venv", "pytest", "snakemake", "http.server")


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def heading_anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    found = set()
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            title = line.lstrip("#").strip().lower().replace("`", "")
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue  # another site
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and anchor not in heading_anchors(other)):
            broken.append(target)
    assert not broken


def named_commands(text: str) -> Iterator[tuple[str, Path]]:
    """Yield what follows `python` in a page and the file that it must be."""
    for module, script in COMMAND.findall(text):
        if script:
            yield script, ROOT / script
        elif module.split(".")[0] not in MODULES_OF_OTHERS:
            path = ROOT.joinpath(*module.split("."))
            yield module, path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_command_of_a_page_exists(page: Path) -> None:
    missing = [name for name, path in named_commands(page.read_text()) if not path.is_file()]
    assert not missing


def is_known_file(name: str, page: Path) -> bool:
    """Whether a path that a page names exists, from the root, the page, or as a file of a wing."""
    if any((folder / name).exists() for folder in (ROOT, page.parent, ROOT / "docs")):
        return True
    # The table of rooms names the files of a wing without the wing.
    return "/" not in name and any(ROOT.glob(f"*/{name}"))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    names = NAMED_FILE.findall(page.read_text())
    expected = [n for n in names if not n.startswith(WRITTEN) and n not in IN_FILES_OF_OTHERS]
    missing = [name for name in expected if not is_known_file(name, page)]
    assert not missing


def flags_of(command: str) -> set[str]:
    """Return the flags that a command of the top level takes, read from its source."""
    source = (ROOT / f"{'train' if command == 'train_pseudo' else command}.py").read_text()
    flags = set(re.findall(r'"(--\w+)"', source))  # strings that are a flag and no more
    return flags - {"--nproc_per_node"}  # of torchrun


def test_flags_that_pages_use_exist() -> None:
    """Every `--flag` that a page gives to a command of the top level is one that it takes."""
    unknown = []
    for page in PAGES:
        # a line that ends with a backslash continues in the next
        for line in page.read_text().replace("\\\n", " ").splitlines():
            match = re.search(r"python (\w+)\.py([^`#|]*)", line)
            if not match or match[1] not in test_house.COMMANDS:
                continue
            known = flags_of(match[1]) | {"--help"}
            unknown += [
                f"{page_name(page)}: {match[1]}.py {flag}"
                for flag in re.findall(r"(?<=\s)--\w+", match[2])
                if flag not in known
            ]
    assert not unknown


def listed_keys(text: str, before: str) -> set[str]:
    """Return the keys in the first column of the table that follows a sentence of a page."""
    table = text[text.index(before) :].split("\n\n")[1]
    rows = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_run_directory_page_lists_every_key_of_a_checkpoint() -> None:
    text = (ROOT / "docs" / "reference" / "run-directory.md").read_text()
    tree = ast.parse(inspect.getsource(pack_checkpoint))
    (packed,) = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    assert listed_keys(text, "`fold<k>_last.pt` has\n") == {key.value for key in packed.keys}
    fields = {field.name for field in dataclasses.fields(TrainerState)}
    assert listed_keys(text, "and the whole of `fold<k>.json`, are\n") == fields


# --- the picture of the wings ----------------------------------------------------------------


def arrows_of_the_picture() -> set[tuple[str, str]]:
    """Return (importer, imported) of every arrow in the Mermaid picture of architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    (picture,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    arrows = set()
    for line in picture.splitlines():
        if match := re.fullmatch(r"\s*([\w &]+) --> ([\w &]+)", line):
            for importer in match[1].split(" & "):
                arrows |= {(importer.strip(), other.strip()) for other in match[2].split(" & ")}
    return arrows


def imports_between_wings() -> set[tuple[str, str]]:
    known = test_house.sources()
    found = set()
    for name, file in known.items():
        if name.endswith(".__main__"):  # a command, which may import those of the top level
            continue
        for other in test_house.imported_modules(file, known):
            pair = (test_house.wing_of(name), test_house.wing_of(other))
            if pair[0] != pair[1]:
                found.add(pair)
    return found


def reachable(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return all pairs that are joined by a chain of arrows."""
    joined = set(arrows)
    while more := {(a, d) for a, b in joined for c, d in arrows if b == c} - joined:
        joined |= more
    return joined


def test_the_picture_shows_the_real_imports() -> None:
    """An arrow is a real import, and every import is an arrow or a chain of arrows."""
    arrows, imports = arrows_of_the_picture(), imports_between_wings()
    invented = arrows - imports
    assert not invented, f"arrows without an import: {sorted(invented)}"
    hidden = imports - reachable(arrows)
    assert not hidden, f"imports that the picture does not show: {sorted(hidden)}"


def test_the_table_of_rooms_has_every_wing_and_top_level_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tracked = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False
    ).stdout.split()
    tops = [name for name in tracked if re.fullmatch(r"\w+\.py|\w+\.ipynb", name)]
    wings = [wing for wing in test_house.WINGS if (ROOT / wing).is_dir()]
    missing = [
        name for name in [*tops, *(f"{wing}/" for wing in wings)] if f"| `{name}` |" not in text
    ]
    assert not missing
