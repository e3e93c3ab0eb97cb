"""The rules that an experiment's class obeys, whatever the experiment is about.

Imports runtime only; everything above may import it. The experiments themselves stand in
configs.py, and what every experiment settles stands in experiments/settings.py. Open rules.py
first, then overrides.py for what `--set` does.
"""
