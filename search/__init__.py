"""The search of continuous strain: files, conditioning, scores of windows, triggers, time slides.

Imports experiments for the networks of a run and physics for the detectors; detect.py imports it.
Open search.py first. time_slides.py: how time slides give the background. triggers.py: what a
trigger is. segments.py and conditioning.py: how strain is read, whitened and cut into windows; the
files are opened by data/strain_files.py. window_scorer.py: the networks. scorers.py: which scorer
serves a config. filter_bank_scorer.py: a filter bank on whole stretches; spectral_whitening.py,
filter_outputs.py, bank_statistics.py and peak_refinement.py are its steps. windowed_scorer.py: all
other networks.

stretches.py plans which detectors are searched when, and conditioned_stretch.py reads, cleans and
measures the strain of a stretch.
"""
