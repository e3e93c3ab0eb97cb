"""The table of all experiments, made from configs.py: for a terminal and for the README.

What only a built network can tell, its parameters and the size of its image, is measured once and
kept in experiment_sizes.json, so that listing the experiments builds none:

    python experiment_table.py --measure   # build what is new or changed and measure it
    python experiment_table.py --readme    # write the table into README.md
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import configs  # noqa: F401 - importing it registers the experiments
from configuration.rules import ConfigMeta, config_named
from utils import (
    CommandLine,
    UserError,
    atomic_path,
    progress,
    read_json,
    run_command,
    to_plain,
    write_json,
)  # fmt: skip

SIZES = Path(__file__).with_name("network_sizes.json")
README = Path(__file__).with_name("README.md")
COLUMNS = (
    "class", "name", "front-end", "backbone", "image", "parameters", "from", "CV", "public LB",
    "private LB",
)  # fmt: skip
BEGIN, END = "<!-- experiments: python experiment_table.py --readme -->", "<!-- experiments end -->"
SHORT = {
    "ComplexMorletCWT": "CWT",
    "WaveNetSpectrogram": "WaveNet",
    "CNNSpectrogram": "CNN",
    "ResNetSpectrogram": "ResNet",
    "RickerCWT": "Ricker",
    "MultiSpectrogram": "several",
}


# --- what is measured ------------------------------------------------------------------------


def network_key(config: ConfigMeta) -> str:
    """Return a digest of all that decides a network's size."""
    params = {k: v for k, v in config.model_params.items() if k not in ("pretrained", "weights")}
    plain = json.dumps([config.model.__name__, to_plain(params)], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def read_sizes() -> dict[str, dict[str, Any]]:
    return read_json(SIZES) if SIZES.exists() else {}


def measure(config: ConfigMeta) -> dict[str, Any]:
    """Build a network and return its trainable parameters and the size of its image, if any."""
    import torch

    from experiments.building import build_model

    model = build_model(config).eval()
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    image = None
    if hasattr(model, "image"):
        with torch.inference_mode():
            made, _ = model.image(torch.randn(1, 3, 4096))
        image = list(made.shape[-2:])
    return {"classes": [config.__name__], "parameters": count, "image": image}


def measure_all(fresh: bool = False) -> dict[str, dict[str, Any]]:
    """Measure every network that is not in the file yet, and forget those that are no more."""
    known = {} if fresh else read_sizes()
    sizes: dict[str, dict[str, Any]] = {}
    for config in progress(list(ConfigMeta.registry.values()), desc="networks", unit="network"):
        key = network_key(config)
        if key in sizes:
            sizes[key]["classes"].append(config.__name__)
        elif key in known:
            sizes[key] = {**known[key], "classes": [config.__name__]}
        else:
            sizes[key] = measure(config)
    write_json(SIZES, sizes)
    return sizes


# --- the table -------------------------------------------------------------------------------


def rows() -> list[tuple[str, ...]]:
    """Return a row of text a configuration, in the order they are defined."""
    sizes = read_sizes()
    return [row(config, sizes) for config in ConfigMeta.registry.values()]


def row(config: ConfigMeta, sizes: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    params, size = config.model_params, sizes.get(network_key(config), {})
    front_end = params["spectrogram"].__name__ if "spectrogram" in params else "-"
    backbone = str(params.get("model_name", config.model.__name__)).split(".")[0]
    image = size.get("image")
    source = config.__base__.__name__
    if config.pseudo_labels is not None:
        source = f"labels of {source_class(config)}"
    scores = [config.published.get(key) for key in ("cv", "public", "private")]
    return (
        config.__name__, config.name, SHORT.get(front_end, front_end), backbone,
        "x".join(map(str, image)) if image else "-",
        count_text(size.get("parameters")), source,
        *("-" if score is None else f"{score:.4f}" for score in scores),
    )  # fmt: skip


def count_text(count: int | None) -> str:
    """Return e.g. '5.3 M', or the number itself where that would say nothing."""
    if count is None:
        return "-"
    return f"{count / 1e6:.1f} M" if count >= 50_000 else f"{count:,}"


def source_class(config: ConfigMeta) -> str:
    """Return the class whose predictions label this one's test samples."""
    name = config.pseudo_labels.params["source"]
    source = config_named(name)
    return name if source is None else source.__name__


def print_table() -> None:
    """Print the table for a terminal."""
    table = [COLUMNS, *rows()]
    widths = [max(len(cells[i]) for cells in table) for i in range(len(COLUMNS))]
    for cells in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        )


def markdown() -> str:
    """Return the README's tables: the published stack first, all other experiments folded."""
    every = rows()
    stack = [cells for cells in every if cells[-1] != "-"]
    others = [cells[:-3] for cells in every if cells[-1] == "-"]
    return "\n".join(
        [
            BEGIN, "", *markdown_table(COLUMNS, stack), "", "<details>",
            f"<summary>The {len(others)} others: their sources, and ours</summary>", "",
            *markdown_table(COLUMNS[:-3], others), "", "</details>", "", END,
        ]
    )  # fmt: skip


def markdown_table(head: tuple[str, ...], body: list[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *body]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def replace_table(text: str) -> str:
    """Return the README with its tables made anew.

    Raises:
        UserError: the marks between which they stand are gone.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise UserError(f"{README} lacks the lines {BEGIN!r} and {END!r}: put them back")
    return pattern.sub(lambda _: markdown(), text, count=1)


def main(argv: list[str] | None = None) -> int:
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure networks that are new")
    parser.add_argument("--fresh", action="store_true", help="measure all networks anew")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    args = parser.parse_args(argv)
    if args.measure or args.fresh:
        sizes = measure_all(args.fresh)
        print(f"{len(sizes)} networks of {len(ConfigMeta.registry)} experiments are in {SIZES}")
    if args.readme:
        text = replace_table(README.read_text())
        with atomic_path(README) as temporary:
            temporary.write_text(text)
        print(f"{README} holds the table of {len(ConfigMeta.registry)} experiments")
    if not (args.measure or args.fresh or args.readme):
        print_table()
    return 0


if __name__ == "__main__":
    run_command(main)
