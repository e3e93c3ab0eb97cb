"""The training loop: epochs, checkpoints, mixed precision, processes, schedules, bad numbers.

Knows nothing of gravitational waves: a batch is a dict of tensors. Imports data, layers and
runtime; experiments, the search and benchmarks import it. Open trainer.py first.
"""
