"""What every program needs, whatever it computes: whole files, locks, signals, seeds, the log.

Imports none of the other wings; everything may import it, and prep_data.py and report.py start
without torch because of that. Open files.py first for how anything is written to disk, and
errors.py for how a mistake is reported.
"""
