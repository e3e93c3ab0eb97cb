"""The blend of several runs: their joined logits, the methods, the scores that choose one.

Reads predictions of finished runs and builds no network. Imports experiments and metrics.py;
stacking.py and submission.ipynb import it. Open inputs.py for what is read, methods.py for how it
is blended, and scores.py for how a method is chosen.
"""
