"""The report's section on the samples that runs were most wrong about: maps as small pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from experiments.strain_maps import GROUPS, LOUDEST, LOWEST, OCTAVES_ABOVE, StrainMaps
from reporting.templates import render

MOST_RUNS = 3  # with maps: the best of each set of samples
COLOURS = 64
GAP = 3  # pixels between the maps of two detectors


def encode(maps: np.ndarray) -> bytes:
    """Return maps (detectors, rows, columns) as one PNG, below one another, low tones down."""
    from matplotlib import colormaps
    from PIL import Image

    levels = np.clip(maps / LOUDEST * (COLOURS - 1), 0, COLOURS - 1).astype(np.uint8)
    gap = np.full((GAP, maps.shape[-1]), COLOURS, np.uint8)
    rows = [part for each in levels for part in (each[::-1], gap)][:-1]
    picture = Image.fromarray(np.concatenate(rows))  # grey, until it has a palette
    palette = (colormaps["viridis"](np.linspace(0, 1, COLOURS))[:, :3] * 255).round().astype(int)
    picture.putpalette([*palette.ravel().tolist(), 255, 255, 255])
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()


def strain_maps_html(looked: Sequence[StrainMaps]) -> Markup:
    """Return the section on the samples that runs were most wrong about."""
    shown = []
    size = 0
    for each in looked:
        groups = []
        for title, samples in zip(GROUPS, (each.noise, each.signals), strict=True):
            encoded = [(sample, encode(maps)) for sample, maps in samples]
            size += sum(len(picture) for _, picture in encoded)
            pictures = [
                {"sample": sample, "source": base64.b64encode(picture).decode()}
                for sample, picture in encoded
            ]
            groups.append((title, pictures))
        shown.append((each, groups))
    return render(
        "strain_maps.html",
        shown=shown,
        kilobytes=round(size * 4 / 3 / 1000),  # base64 writes three bytes as four letters
        lowest=LOWEST,
        octaves=OCTAVES_ABOVE,
        loudest=LOUDEST,
        most=MOST_RUNS,
    )
