"""Measure every experiment's network and write the table of experiments into the docs.

python -m benchmarks.network_sizes            # measure networks that are new or changed
python -m benchmarks.network_sizes --fresh    # measure all networks again
python -m benchmarks.network_sizes --page     # write the table into docs/reference/experiments.md
"""

from __future__ import annotations

import argparse
import re
from typing import Any

import configs  # noqa: F401 - importing it registers the experiments
from benchmarks import ROOT
from benchmarks.harness.measurements import markdown_table
from configuration.config_class import ConfigMeta
from experiments.experiment_list import (
    COLUMNS,
    SIZES,
    decimation_of,
    network_key,
    read_sizes,
    table_rows,
)
from runtime.command_line import CommandLine, run_command
from runtime.console import progress
from runtime.errors import UserError
from runtime.files import atomic_path, write_json

PAGE = ROOT / "docs" / "reference" / "experiments.md"
BEGIN = "<!-- experiments: python -m benchmarks.network_sizes --page -->"
END = "<!-- experiments end -->"


def measure_network(config: ConfigMeta) -> dict[str, Any]:
    """Build a network and return its trainable parameters and the size of its image, if any."""
    import torch

    from experiments.building import build_model, observation_of

    model = build_model(config).eval()
    # Frozen parameters are not learnt and do not count.
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    image = None
    if hasattr(model, "image"):
        detectors, samples = observation_of(config).shape
        # One sample: the size of the image does not depend on how many there are.
        with torch.inference_mode():
            made, _ = model.image(torch.randn(1, detectors, samples // decimation_of(config)))
        image = list(made.shape[-2:])
    return {"classes": [config.__name__], "parameters": count, "image": image}


def measure_all(fresh: bool = False) -> dict[str, dict[str, Any]]:
    """Measure every network that is not in the file yet; drop those that no experiment has."""
    known = {} if fresh else read_sizes()
    sizes: dict[str, dict[str, Any]] = {}
    for config in progress(list(ConfigMeta.registry.values()), desc="networks", unit="network"):
        key = network_key(config)
        # Many experiments share a network and differ in their training only.
        if key in sizes:
            sizes[key]["classes"].append(config.__name__)
        elif key in known:
            sizes[key] = {**known[key], "classes": [config.__name__]}
        else:
            sizes[key] = measure_network(config)
    write_json(SIZES, sizes)
    return sizes


def measured_experiments() -> list[str]:
    """Return the classes whose networks were measured; those that a user adds are not."""
    measured = {name for entry in read_sizes().values() for name in entry["classes"]}
    return [name for name in ConfigMeta.registry if name in measured]


def format_experiment_tables() -> str:
    """Return the tables of the page: the published stack first, then the other experiments.

    Only experiments that were measured are in them, so that a new class leaves the page as it is.
    """
    measured = set(measured_experiments())
    every = [cells for cells in table_rows() if cells[0] in measured]
    # Only experiments of the published stack have scores in the last three columns.
    stack = [cells for cells in every if cells[-1] != "-"]
    others = [cells[:-3] for cells in every if cells[-1] == "-"]
    return "\n".join(
        [
            BEGIN,
            "",
            *markdown_table(COLUMNS, stack),
            "",
            f"The {len(others)} others, which are sources of these or experiments of this project:",
            "",
            *markdown_table(COLUMNS[:-3], others),
            "",
            END,
        ]
    )


def replace_table(text: str) -> str:
    """Return the page with its tables rewritten.

    Raises:
        UserError: a mark around the tables is missing.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise UserError(f"{PAGE} lacks the lines {BEGIN!r} and {END!r}: put them back")
    # A function, as backslashes in a replacement text would be read as escapes.
    return pattern.sub(lambda _: format_experiment_tables(), text, count=1)


def main(argv: list[str] | None = None) -> int:
    parser = CommandLine(
        prog="-m benchmarks.network_sizes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fresh", action="store_true", help="measure all networks again")
    parser.add_argument(
        "--page", action="store_true", help="write the table into docs/reference/experiments.md"
    )
    args = parser.parse_args(argv)
    if args.page and not args.fresh:
        text = replace_table(PAGE.read_text())
        with atomic_path(PAGE) as temporary:
            temporary.write_text(text)
        print(f"{PAGE} holds the table of {len(ConfigMeta.registry)} experiments")
        return 0
    sizes = measure_all(args.fresh)
    print(f"{len(sizes)} networks of {len(ConfigMeta.registry)} experiments are in {SIZES}")
    return 0


if __name__ == "__main__":
    run_command(main)
