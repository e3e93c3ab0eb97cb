"""The table of all experiments, made from configs.py: for a terminal and for the README."""

from __future__ import annotations

import configs  # noqa: F401 - importing it registers the experiments
from config_base import ConfigMeta

COLUMNS = ("class", "name", "front-end", "backbone", "input", "epochs", "from", "CV", "LB")


def rows() -> list[tuple[str, ...]]:
    """Return a row of text a configuration, in the order they are defined."""
    return [row(config) for config in ConfigMeta.registry.values()]


def row(config: ConfigMeta) -> tuple[str, ...]:
    params = config.model_params
    front_end = params["spectrogram"].__name__ if "spectrogram" in params else "-"
    size = params.get("resize_img")
    if isinstance(size, int):
        size = (size, size)
    published = config.__dict__.get("published", {})  # a parent's scores are not the child's
    scores = [published.get(key) for key in ("cv", "private")]
    return (
        config.__name__, config.name, front_end,
        str(params.get("model_name", config.model.__name__)).split(".")[0],
        "x".join(map(str, size)) if size else "-", str(config.num_epochs), config.__base__.__name__,
        *("-" if score is None else f"{score:.4f}" for score in scores),
    )  # fmt: skip


def print_table() -> None:
    table = [COLUMNS, *rows()]
    widths = [max(len(cells[i]) for cells in table) for i in range(len(COLUMNS))]
    for cells in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        )
