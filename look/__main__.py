"""Draw samples of an experiment before it is trained: `python -m look --config Demo`.

Of each sample: the strain, what the transforms make of it, without and with augmentation, and the
image of the front-end where there is one. The first thing to do before a training.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.command_line import CommandLine, run_command
from runtime.errors import UserError

if TYPE_CHECKING:
    from look.network_input import NetworkInput

OVERVIEW = "overview.png"


def build_parser() -> argparse.ArgumentParser:
    parser = CommandLine(
        prog="-m look", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config", default="Demo", help="an experiment, as train.py takes it (%(default)s)")
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change settings, as in train.py")
    add(
        "--ids",
        nargs="+",
        default=[],
        metavar="ID",
        help="samples of the tables to draw; without it, some of each class are chosen, or drawn "
        "where the experiment draws its training samples",
    )
    add("--samples", type=int, default=8, metavar="N", help="how many, without --ids (%(default)s)")
    add("--seed", type=int, default=0, help="of the choice and the augmentations (%(default)s)")
    add("--out", type=Path, metavar="DIR", help="folder of the pictures (look/NAME in --results)")
    add("--results", type=Path, default=Path("results"), help="folder of all results (%(default)s)")
    add("--overwrite", action="store_true", help="draw pictures that are there already anew")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config
    from configuration.overrides import override
    from experiments.run_names import LOOK
    from look.network_input import prepare
    from look.samples import read_samples

    config = override(load_config(args.config), args.set)
    out = args.out or args.results / LOOK / config.name
    check_free(out, args.overwrite)
    looked = prepare(config, read_samples(config, args.samples, args.ids, args.seed), args.seed)
    files = write_pictures(looked, out, args.overwrite)
    print(describe(looked, out, files))
    return 0


def check_free(out: Path, overwrite: bool) -> None:
    """Refuse a folder with pictures of an earlier call, before anything is computed.

    Raises:
        UserError: there is one, and `overwrite` is not set.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: expected a folder, and this is a file: name another")
    if (out / OVERVIEW).exists() and not overwrite:
        raise UserError(
            f"{out} has pictures already: name another folder with --out, or give --overwrite, "
            f"which draws them anew"
        )


def write_pictures(looked: NetworkInput, out: Path, overwrite: bool) -> list[str]:
    """Write one picture of each sample and one of all, and return their names.

    Raises:
        UserError: one is there already, and `overwrite` is not set.
    """
    from look.pictures import draw_overview, draw_sample
    from runtime.files import atomic_path

    rows = range(len(looked.samples))
    names = [f"{row + 1:02d}_{file_name(looked.samples.ids[row])}.png" for row in rows]
    there = [name for name in names if (out / name).exists()]
    if there and not overwrite:
        raise UserError(
            f"{out / there[0]} is there already: name another folder with --out, or give "
            f"--overwrite, which draws it anew"
        )
    for row, name in zip(rows, names, strict=True):
        with atomic_path(out / name) as temporary:
            draw_sample(looked, row).savefig(temporary, dpi=100)
    # Last: it says that all others are there.
    with atomic_path(out / OVERVIEW) as temporary:
        draw_overview(looked).savefig(temporary, dpi=100)
    return [*names, OVERVIEW]


def count_of(count: int, noun: str) -> str:
    """Return '1 sample' or '8 samples'."""
    return f"{count} {noun}{'s' * (count != 1)}"


def file_name(sample: str) -> str:
    """Return an id as a part of a file name."""
    return re.sub(r"[^\w.-]+", "_", sample)[:80]


def describe(looked: NetworkInput, out: Path, files: Sequence[str]) -> str:
    """Return what was drawn, and what the network is given, in a few lines."""
    samples, config, plain = looked.samples, looked.config, looked.plain
    counts: dict[str, int] = {}
    for words in samples.labels:
        counts[words] = counts.get(words, 0) + 1
    kinds = ", ".join(f"{count} {words}" for words, count in counts.items())
    lines = [
        f"{count_of(len(samples), 'sample')} of {config.__name__} ({samples.source}): {kinds}",
        f"strain {tuple(samples.strain.shape[1:])}, {looked.observation.sampling}",
        f"without augmentation: {plain.transforms[0]} -> {tuple(plain.waveforms[0].shape[1:])}",
        f"with augmentation: {looked.augmented.transforms[0]}",
    ]
    if plain.image is not None:
        lines.append(f"image of {looked.front_end}: {tuple(plain.image.shape[1:])}")
    pictures = count_of(len(files) - 1, "picture")
    lines.append(f"drawn into {out}/: {OVERVIEW} and {pictures} of a sample each")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
