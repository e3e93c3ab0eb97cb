"""What this machine has and how fast it trains, in ten lines: `make doctor`."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from runtime.command_line import CommandLine, run_command
from runtime.errors import UserError

if TYPE_CHECKING:
    import torch

    from configuration.config_class import ConfigMeta

# A network on waveforms, a small one on images, and one of the competition's.
TIMED = ("Demo", "DemoSpec", "Nspec16")


def build_parser() -> argparse.ArgumentParser:
    from train import not_negative

    parser = CommandLine(prog="-m doctor", description=__doc__)
    parser.add_argument(
        "--seconds",
        type=not_negative(float),
        default=20,
        help="that the training of all experiments is timed together; 0 times none (%(default)g)",
    )
    parser.add_argument(
        "--timed",
        nargs="+",
        default=list(TIMED),
        metavar="NAME",
        help=f"experiments to time ({' '.join(TIMED)})",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    import configs  # noqa: F401 - importing it registers the experiments
    from configuration.config_references import load_config

    timed = [load_config(name) for name in args.timed]
    for words, line in report(timed, args.seconds):
        # At once: the timing takes its while.
        print(f"{words:<12}{line}", flush=True)
    return 0


def report(timed: Sequence[ConfigMeta], seconds: float) -> Iterator[tuple[str, str]]:
    """Yield the lines of the report: what it is about, and what is so.

    Args:
        timed: experiments whose training is timed.
        seconds: for all of them together.
    """
    from doctor.devices import describe_bf16, describe_cpu, describe_cuda, find_device
    from doctor.kept_files import describe_cache, describe_pretrained
    from doctor.packages import core_versions, describe_missing, find_extras, read_project
    from runtime.versions import git_revision

    project = read_project()
    revision = (git_revision() or "unknown")[:12]
    yield (
        "system",
        f"Python {platform.python_version()}, {platform.platform(terse=True)}, {describe_cpu()}",
    )
    yield "toolkit", f"{project['name']} {project['version']}, revision {revision}"
    found = core_versions(project)
    yield "packages", ", ".join(f"{name} {at or 'MISSING'}" for name, at in found.items())
    extras = find_extras(project)
    there = ", ".join(extra.name for extra in extras if not extra.missing)
    yield "extras", there or "none"
    yield "missing", describe_missing(extras)
    device = find_device()
    yield "CUDA", describe_cuda()
    yield "bf16", describe_bf16(device)
    yield "speed", "; ".join(speeds(timed, device, seconds)) or "not timed"
    yield "kept files", describe_cache()
    yield "pretrained", describe_pretrained()


def speeds(timed: Sequence[ConfigMeta], device: torch.device, seconds: float) -> Iterator[str]:
    """Yield how fast each experiment trains, or why it cannot be timed."""
    from doctor.speed import time_training

    if not seconds:
        return
    for config in timed:
        try:
            speed = time_training(config, device, seconds / len(timed))
        except UserError as error:  # e.g. an extra that its noise curves need
            yield f"{config.__name__}: {error}"
            continue
        yield (
            f"{config.__name__} {format_rate(speed.samples_per_second)} samples/s in batches of "
            f"{speed.batch_size}"
        )


def format_rate(rate: float) -> str:
    """Return '1,234', '45.6' or '0.789'."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
