"""The cost of training/: steps, mixed precision, how cost grows. Open training_step.py first."""
