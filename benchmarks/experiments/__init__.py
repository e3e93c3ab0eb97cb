"""The cost of experiments/: inference with test-time views."""
