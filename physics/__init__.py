"""Detectors, noise curves, waveforms and the signals they make: what is true of nature.

Knows nothing of networks, data sets or experiments. Imports runtime only; data sets, transforms,
networks, simulation and the search import it. Open noise.py for noise and whitening, and
signals.py for how a waveform becomes strain in each detector.
"""
