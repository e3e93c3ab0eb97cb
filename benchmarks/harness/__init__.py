"""What all benchmarks share: the command line, clocks, the machine, measurements, result files.

Open command.py first: it runs one benchmark, prints its table and records it. timing.py times two
sides in turn; measurements.py holds a figure with its target and its row of the table;
result_files.py reads and writes benchmarks/results/; machine.py says what was measured and who else
used the machine; timed_steps.py runs the trainer's own steps under a clock.
"""
