"""One experiment from its config to its predictions, and the run directory it leaves.

Imports everything above it in the list of wings; stack, reporting and search read what it wrote.
configs.py imports settings.py, and nothing here imports configs.py. Open experiment.py first, then
run_directory.py for what results/<name>/ holds, existing_run.py for what a start may keep of it,
fold_record.py for what 'finished' means, and inference.py for predictions.
"""
