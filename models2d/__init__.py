"""Image networks: the image of a front-end, the timm backbone, the pooling and the head.

The twin of models1d. Imports layers and runtime; architectures.py imports it and joins
the parts. Open image_network.py first, then spectrogram_image.py for what happens before the
backbone and backbones.py for pretrained weights.
"""
