"""Samples on disk and in memory: tables, .npy files, the memory-mapped cache, the order of batches.

No randomness but the order of rows. Imports runtime and physics; datasets.py, prep_data.py,
training, simulation, experiments and the search import it. Open strain_cache.py first, then
cache_writer.py. strain_files.py opens recorded strain (recording.py) and strain_conditioning.py
resamples and filters it and measures its PSD.
"""
