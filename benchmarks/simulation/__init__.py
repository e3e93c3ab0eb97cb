"""The cost of simulation/: samples drawn on the fly against samples from files."""
