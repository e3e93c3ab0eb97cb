"""The training loop and its needs: checkpoints, mixed precision, processes, bad numbers.

Knows nothing of gravitational waves: a batch is a dict of tensors. Imports data, layers and
runtime; experiments, the search and benchmarks import it. Open trainer.py first.
"""
