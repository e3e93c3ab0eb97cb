"""How well detectors work: the AUC and the efficiency of networks beside the best possible.

`python -m benchmarks.detection` scores one simulated hold-out (holdout.py) by matched filters
(templates.py), by the near-optimal statistic (likelihood.py) and by trained runs (networks.py), and
writes the table and the plots (report.py). `python -m benchmarks.detection.ablation` measures what
each part of an experiment is worth. Open __main__.py first.
"""
