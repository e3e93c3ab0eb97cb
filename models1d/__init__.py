"""Networks on the waveform itself, one family a file.

Each takes (batch, detector, time) and flat arguments, returns logits (batch, classes), mixes
waveforms when it is called with `lam` and `idx`, and has `forward_features`, `forward_head`,
`get_classifier` and `reset_classifier`. Imports layers, physics and runtime. The learned
front-ends of spectrograms are built of the same blocks. Open resnet1d.py first.
"""

from models1d.branched_resnet1d import BRANCHED_SIZES, BranchedResNet1d
from models1d.cnn1d import CNN1d
from models1d.densenet1d import DenseNet1d, densenet121_1d, densenet169_1d, densenet201_1d
from models1d.matched_filter1d import MatchedFilter1d
from models1d.resnet1d import ResNet1d
from models1d.wavenet1d import WaveNet1d

__all__ = [
    "BRANCHED_SIZES",
    "BranchedResNet1d",
    "CNN1d",
    "DenseNet1d",
    "MatchedFilter1d",
    "ResNet1d",
    "WaveNet1d",
    "densenet121_1d",
    "densenet169_1d",
    "densenet201_1d",
]
