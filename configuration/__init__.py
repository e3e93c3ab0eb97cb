"""The rules that an experiment's class obeys, whatever the experiment is about.

Imports runtime only; everything above may import it. The experiments themselves stand in
configs.py, and what every experiment settles stands in experiments/settings.py. Open
config_class.py first, then overrides.py for what `--set` does.
"""
