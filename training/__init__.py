"""The training loop and what it needs: checkpoints, mixed precision, several processes, bad numbers.

Knows nothing of gravitational waves: a batch is a dict of tensors. Imports data, layers and
runtime; experiments, the search and benchmarks import it. Open trainer.py first.
"""
