"""`train.py` under a clock: it is stopped after some training steps, and says when each had ended.

`first_step` runs it, again and again. What is timed is the command itself, from its arguments to
its loop; nothing is left out. It prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

from runtime.command_line import run_command


class StepsAreDone(Exception):
    """The steps that are timed have ended: nothing of the training is wanted any more."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1, help="after which it stops (%(default)s)")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="-- and those of train.py")
    args = parser.parse_args(argv)
    # After the arguments: the imports are part of what a start takes, and are those of train.py.
    import torch

    import train
    from training.trainer import Trainer

    ended: list[tuple[float, float]] = []

    def note(trainer: Any) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)  # a step is only queued
        # the same clock in all processes of a machine, and what this one has used of the processor
        ended.append((time.monotonic(), time.process_time()))
        if len(ended) == args.steps:
            raise StepsAreDone

    # The loop asks after every step of the optimiser whether to save or to stop.
    Trainer.save_or_stop = note
    try:
        train.main([word for word in args.arguments if word != "--"])
    except StepsAreDone:
        print(json.dumps({"ended": ended}))
        return 0
    raise AssertionError(f"the training ended after {len(ended)} of {args.steps} steps")


if __name__ == "__main__":
    run_command(main)
