"""Networks on the waveform itself, one family a file."""

from models1d.branched_resnet1d import BranchedResNet1d

__all__ = ["BranchedResNet1d"]
