"""The search for good settings of an experiment: studies, trials, and what they leave.

A study draws settings from a space by Optuna, trains one fold with each draw, and stops draws that
fall behind the others. Imports experiments and below, and Optuna, an extra, only where it is used;
__main__.py is its command, `python -m tuning`. Open study.py first; space.py has the words of
`--space`.
"""
