"""The cost of runtime/: how long the commands take to start."""
