"""The table of all experiments, as `train.py --list` and docs/reference/experiments.md show it.

What only a built network can tell, its parameters and the size of its image, is kept in
network_sizes.json, so that listing the experiments builds none. It is measured by
`python -m benchmarks.network_sizes`.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from configuration.config_class import ConfigMeta, config_named
from configuration.json_types import to_plain
from physics.observation import COMPETITION
from runtime.files import read_json

SIZES = Path(__file__).with_name("network_sizes.json")
COLUMNS = (
    "class",
    "name",
    "front-end",
    "backbone",
    "image",
    "parameters",
    "from",
    "CV",
    "public LB",
    "private LB",
)
SHORT = {
    "ComplexMorletCWT": "CWT",
    "WaveNetSpectrogram": "WaveNet",
    "CNNSpectrogram": "CNN",
    "ResNetSpectrogram": "ResNet",
    "RickerCWT": "Ricker",
    "MultiSpectrogram": "several",
}


def network_key(config: ConfigMeta) -> str:
    """Return a digest of all that decides a network's size."""
    # Where the weights come from does not change how many there are.
    params = {k: v for k, v in config.model_params.items() if k not in ("pretrained", "weights")}
    # Sorted keys: the digest must not depend on the order in which a config names its arguments.
    decisive = [config.model.__name__, to_plain(params)]
    # Networks have as many channels, and images as many columns, as the observation says. Keys of
    # the competition's networks are older than this setting.
    sampling = config.observation.build().sampling
    if sampling != COMPETITION.sampling:
        decisive.append(sampling.to_plain())
    # Images have as many columns as the transforms leave samples.
    if "spectrogram" in params and decimation_of(config) > 1:
        decisive.append({"decimate": decimation_of(config)})
    # Filters that are chosen by their loss are as many as the population and the noise need.
    if params.get("max_loss") is not None:
        decisive += [config.population.to_plain(), config.observation.to_plain()]
    plain = json.dumps(decisive, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def decimation_of(config: ConfigMeta) -> int:
    """Return of how many samples the transforms leave one for the network."""
    parts = (config.transforms or {}).get("test") or ()
    return math.prod(part.params.get("decimate", 1) for part in parts)


def read_sizes() -> dict[str, dict[str, Any]]:
    return read_json(SIZES) if SIZES.exists() else {}


def table_rows() -> list[tuple[str, ...]]:
    """Return a row of text for each configuration, in the order they are defined."""
    sizes = read_sizes()
    return [table_row(config, sizes) for config in ConfigMeta.registry.values()]


def table_row(config: ConfigMeta, sizes: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    params, size = config.model_params, sizes.get(network_key(config), {})
    front_end = params["spectrogram"].__name__ if "spectrogram" in params else "-"
    # timm's names end with a tag of the pretrained weights, e.g. 'resnet18.a1_in1k'.
    backbone = str(params.get("model_name", config.model.__name__)).split(".")[0]
    image = size.get("image")
    source = config.__base__.__name__  # the parent, whose settings it inherits
    if config.pseudo_labels is not None:
        source = f"labels of {label_source_class(config)}"
    scores = [config.published.get(key) for key in ("cv", "public", "private")]
    return (
        config.__name__,
        config.name,
        SHORT.get(front_end, front_end),
        backbone,
        "x".join(map(str, image)) if image else "-",
        format_count(size.get("parameters")),
        source,
        *("-" if score is None else f"{score:.4f}" for score in scores),
    )


def format_count(count: int | None) -> str:
    """Return e.g. '5.3 M', or the number itself if it is small."""
    if count is None:
        return "-"
    return f"{count / 1e6:.1f} M" if count >= 50_000 else f"{count:,}"


def label_source_class(config: ConfigMeta) -> str:
    """Return the class whose predictions label this one's test samples."""
    name = config.pseudo_labels.params["source"]
    source = config_named(name)
    return name if source is None else source.__name__


def print_table() -> None:
    """Print the table for a terminal."""
    table = [COLUMNS, *table_rows()]
    # Padded by hand and stripped: lines can be copied without trailing spaces.
    widths = [max(len(cells[i]) for cells in table) for i in range(len(COLUMNS))]
    for cells in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        )
