"""The cost of search/: whole stretches of strain against windows."""
