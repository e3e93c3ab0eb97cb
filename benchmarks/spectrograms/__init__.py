"""The cost of spectrograms/: wavelet and constant-Q front-ends. Open cwt.py first."""
