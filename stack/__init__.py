"""The blend of several runs: their joined logits, the methods, the scores that choose one.

Reads the predictions of finished runs and builds no network. Imports experiments and metrics.py;
stacking.py and submission.ipynb import it. Open blend.py first: it goes from the runs to the
finished stack. members.py and inputs.py read the runs, methods.py blends them, scores.py chooses.
"""
