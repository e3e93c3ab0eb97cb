"""The cost of data/: reading batches, and the time to the first one. Open reading.py first."""
