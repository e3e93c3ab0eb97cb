"""Samples on disk and in memory: tables, .npy files, the memory-mapped cache, the order of batches.

No randomness but the order of rows. Imports runtime and physics; datasets.py, prep_data.py,
training, simulation, experiments and the search import it. Open strain_cache.py first, then
cache_writer.py. strain_files.py opens recorded strain as a `Recording` (recording.py):
strain_paths.py finds the files that a word stands for, hdf5_files.py, hdf5_series.py, gwf_files.py
and text_files.py read them, quality_bits.py their data-quality bits. data_quality.py says which
strain may be searched. strain_conditioning.py resamples and filters it and measures its PSD.

Strain that is searched goes on from there: tracked_psds.py follows the PSD of the noise, with
whitening_filter.py; gap_filling.py fills gaps; gates.py takes loud glitches out.
"""
