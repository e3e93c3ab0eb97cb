"""One prepared check of a GPU, or of the CPU in its place, within minutes: `make gpu-check`.

Open __main__.py first: it runs the steps of steps.py, smallest first, each in a process of its own
and within the time that is left. record.py holds what they found and writes it after every step;
ruler.py trains an experiment against the best that is known of its hold-out.
"""
