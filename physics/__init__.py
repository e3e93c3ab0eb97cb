"""The observation and nature: constants, detectors, noise, waveforms and the signals they make.

It knows nothing of networks, data sets or experiments. Imports configuration and runtime; data
sets, transforms, networks, simulation and the search import it. Open observation.py for the
detectors, the sampling rate and the window, population.py for what merges, noise.py for noise and
whitening, and signals.py for how a waveform becomes strain in each detector. glitches.py makes what
single detectors do beside noise, and cache_folder.py keeps what is expensive to compute.
"""
