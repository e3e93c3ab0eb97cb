"""Is the constant-Q front-end of Baseline slower than nnAudio's own layer?

Both take white noise (batch, detector, time) and return magnitudes; nnAudio's layer is given the
detectors as rows of its batch. It convolves in time with a stride of 64.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness.command import BenchmarkSettings, Findings, run_benchmark
from benchmarks.harness.measurements import Measurement
from benchmarks.harness.timing import Spread, check_agreement, interleave, paired_ratios
from benchmarks.spectrograms.cwt import TOLERANCE, use_full_float32, waveforms
from configuration.class_with_arguments import thaw
from runtime.command_line import run_command
from spectrograms.constant_q import CQT

TARGETS = {"cpu": 1.0, "cuda": 1.0}


class NNAudioCQT(nn.Module):
    """nnAudio's `CQT1992v2` on waveforms of several detectors."""

    def __init__(self, **params: Any) -> None:
        super().__init__()
        from nnAudio.features.cqt import CQT1992v2

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="If fmax is given")
            self.layer = CQT1992v2(verbose=False, **params)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (batch, detector, time) to (batch, detector, row, frame)."""
        image = self.layer(x.reshape(-1, x.shape[-1]))  # (batch * detector, row, frame)
        return image.reshape(*x.shape[:2], *image.shape[1:])


@torch.no_grad()
def measure(settings: BenchmarkSettings) -> Findings:
    from configs import Baseline

    use_full_float32()
    batch = settings.choose(cpu=Baseline.batch_size, cuda=Baseline.batch_size, quick=2)
    params = thaw(Baseline.model_params["spec_params"])
    ours = CQT(**params).to(settings.device)
    theirs = NNAudioCQT(**params).to(settings.device)
    x = waveforms(settings, batch)
    difference = check_agreement("CQT of Baseline", ours(x), theirs(x), TOLERANCE)
    sides = {"ours": lambda: ours(x), "theirs": lambda: theirs(x)}
    rounds = settings.rounds(25)
    times = interleave(sides, settings.device, rounds, settings.least_seconds)
    row = Measurement(
        "cqt.baseline",
        "CQT of Baseline, forward",
        "nnAudio's CQT1992v2",
        paired_ratios(times["theirs"], times["ours"]),
        "×",
        True,
        TARGETS,
        Spread.of(times["ours"]),
        Spread.of(times["theirs"]),
        settings={"batch": batch, "threads": torch.get_num_threads()},
        extra={"largest_difference": difference, "rounds": rounds},
    )
    return Findings([row])


def main(argv: Sequence[str] | None = None) -> int:
    return run_benchmark("cqt", __doc__, measure, argv)


if __name__ == "__main__":
    run_command(main)
