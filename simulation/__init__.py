"""Simulated samples: a data set in files, and training samples drawn on the fly on the device.

Imports physics, data, signal_transforms and datasets.py; prep_data.py and the experiments import
it. Open dataset_on_disk.py for `prep_data.py --simulate` (its files are described in
dataset_files.py), and dataset_on_the_fly.py for experiments that see no sample twice.
"""
