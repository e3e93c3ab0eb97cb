"""Train one experiment with pseudo-labels: `python train_pseudo.py --config Pseudo07`.

The same command line as `train.py`, for the configs that set `pseudo_labels`: the test samples join
the training with the labels of another experiment, whose predictions must be there.
"""

from __future__ import annotations

from functools import partial

from runtime.command_line import run_command
from train import main

if __name__ == "__main__":
    run_command(partial(main, pseudo=True))
