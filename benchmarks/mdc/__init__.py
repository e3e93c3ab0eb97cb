"""How far does a search see, at a false-alarm rate? The measure of the MLGWSC-1 challenge.

`python -m benchmarks.mdc` searches strain that is simulated segment by segment (strain_sources.py)
with the scorers of the search (searches.py, search_run.py), keeps what it finds in a folder that
can be resumed (run_folder.py), and computes sensitive distances from it (figures_of_merit.py with
search/sensitivity.py), tables and a record (report.py), and plots (plots.py). challenge_files.py
reads and writes the challenge's own files. Open __main__.py first.
"""
