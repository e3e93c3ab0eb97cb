"""The page that shows all runs: results/index.html.

Reads run directories and needs no torch. Imports experiments (its readers of predictions and
summaries) and metrics.py; report.py imports it. Open page.py first; data.py reads the runs, and
assets/ holds the page's scripts and styles.
"""
