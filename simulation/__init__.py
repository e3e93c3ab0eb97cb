"""Simulated samples and strain: a data set in files, samples drawn on the fly, hours of strain.

Imports physics, data, signal_transforms and datasets.py; prep_data.py and the experiments import
it. Open dataset_on_disk.py for `prep_data.py --simulate` (its files are described in
dataset_files.py), dataset_on_the_fly.py for experiments that see no sample twice, and
continuous_strain.py for `prep_data.py --simulate_strain`.
"""
