"""Parts of networks that torch and timm lack, used by one- and two-dimensional networks alike.

Imports runtime only; models1d, models2d, spectrograms, architectures.py and training_extras.py
import it. Each file is one kind of part: pooling, attention, mixing of rows, resizing. Open
pooling.py first.
"""
