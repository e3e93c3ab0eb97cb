"""What follows a front-end: the timm backbone, the pooling and the head, from image to logits.

The twin of models1d. Imports layers and runtime; architectures.py imports it and joins it to a
front-end. Open image_network.py first, then backbones.py for pretrained weights.
"""
