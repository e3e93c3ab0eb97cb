"""Samples on disk and in memory: tables, .npy files, the memory-mapped cache, the order of batches.

No signal processing and no randomness but the order of rows. Imports runtime and physics;
datasets.py, prep_data.py, training and experiments import it. Open strain_cache.py first, then
cache_writer.py.
"""
