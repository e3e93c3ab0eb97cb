"""The training loop: epochs, checkpoints, mixed precision, processes, schedules, bad numbers.

Knows nothing of gravitational waves: a batch is a dict of tensors. Imports data, layers and
runtime; training_extras.py, experiments and benchmarks import it. Open trainer.py first, then
hooks.py and callbacks.py for what an experiment may exchange.
"""
