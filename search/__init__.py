"""The search of continuous strain: files, conditioning, scores of windows, triggers, time slides.

Imports experiments for the networks of a run, and physics for the detectors; detect.py imports it.
Open search.py first, then conditioning.py for how strain is whitened and strain_files.py for how
it is read.
"""
