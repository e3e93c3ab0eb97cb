"""Where scores go besides the log: TensorBoard, CSV files, MLflow, Weights & Biases.

Imports runtime alone; experiments opens what a config names as `tracker`. Open trackers.py first:
it sends every epoch to all of them and continues the same tracked runs on resuming.
"""
