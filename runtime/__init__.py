"""What every program needs, whatever it computes: safe files, locks, signals, seeds, the log.

Imports no other wing, and everything may import it. Only a few of its files import torch, so that
prep_data.py and report.py start quickly. Open files.py first for how anything is written to disk,
errors.py for how an error is reported, and locks.py for how two processes keep out of each other's
way.
"""
