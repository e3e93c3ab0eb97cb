"""A small search: strain of two detectors with one loud event, and a network without training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

MERGER = 17.0  # s after START


class Excess(nn.Module):
    """A network that needs no training: loud where H1 and L1 both are, where mergers lie."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        end = x.shape[-1]
        merger = x[:, :2, int(0.75 * end) : int(0.9 * end)]
        return merger.square().mean(-1).log().sum(1, keepdim=True)


def write_small_strain(folder: Path) -> Path:
    """Write H1.hdf5 and L1.hdf5, 32 s with a loud event in both; return the folder."""
    from real_strain import chirp, coloured_noise, write_strain

    signal = chirp(32, MERGER, amplitude=3e-22)
    for number, name in enumerate(("H1", "L1")):
        strain = coloured_noise(name, 32, seed=number) + (-1) ** number * signal
        write_strain(folder / f"{name}.hdf5", name, strain, compression="gzip")
    return folder


def search_line(strain: Path) -> list[str]:
    """Return the arguments of a quick search of that strain, from results/ into out/."""
    files = [f"{name}={strain / name}.hdf5" for name in ("H1", "L1")]
    line = ["--config", "Demo", "--results", "results", "--out", "out", "--strain", *files]
    return [*line, "--step", "1", "--slides", "2", "--maps", "0"]
