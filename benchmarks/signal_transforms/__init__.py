"""The cost of signal_transforms/: a batch on the device against scipy, a sample at a time."""
