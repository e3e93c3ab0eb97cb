"""What `make demo` runs: from nothing to a detector that finds GW150914, in five minutes.

`python -m demo` simulates samples, trains QuickDemo, searches the real strain of examples/gw150914
with it, compares it with matched filters, and ends with one picture and five sentences. It imports
the commands of the top level, the wings and `benchmarks/`; nothing imports it. Open __main__.py.
"""
