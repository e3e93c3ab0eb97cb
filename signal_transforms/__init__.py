"""Transforms of batches of strain and of spectrogram images; transforms.py lists them by name.

Imports runtime and physics; front-ends, simulation, the search and the experiments import it. Every
transform is a module that changes a whole batch at once. Open base.py first, then the file of a
kind: amplitude, time_shifts, channels, glitches, filtering, whitening, denoising,
image_augmentations. The spectra and matrices behind filtering and whitening are made in
band_pass_operators and whitening_operators.
"""
