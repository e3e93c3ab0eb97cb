"""What this machine has: packages, extras, GPU, speed, and the files that are kept between runs.

Imports experiments and what lies below. Open `__main__.py` first, the command line, then
`speed.py` for what is timed.
"""
