"""The search of continuous strain: stretches, scores, triggers, time slides, background, results.

Imports experiments for the networks of a run, simulation for injections and reporting for its page;
detect.py and benchmarks import it. Open search.py first: the way of a search, stretch by stretch.
stretches.py and conditioned_stretch.py: which strain is searched and how it is cleaned. scorers.py:
which scorer serves a config; peaks.py has the protocol. filter_bank_scorer.py: a filter bank on
whole stretches; spectral_whitening.py, filter_outputs.py, bank_statistics.py and peak_refinement.py
are its steps. windowed_scorer.py: all other networks; stretch_windows.py, front_choice.py,
local_front.py and stretch_features.py are its steps. slides.py and background.py: how time slides
give false-alarm rates. injections.py and sensitivity.py: how far a search sees. run_search.py and
folder.py: how its results are written, and resumed.
"""
