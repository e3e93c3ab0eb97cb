"""The toolkit beside other packages that do the same: who is faster, and do they agree?

`python -m benchmarks.rivals` times ours and theirs in turn in one process, on the same random
inputs with the same number of threads, and says how far the results differ where they can be
compared. `python -m benchmarks.rivals ml4gw sklearn` takes two packages. A package that is not
installed, or cannot be loaded, is left out, and the record says why.

| file | whose |
|---|---|
| `of_ml4gw.py` | whitening, spectral density, Q-transform, IMRPhenomPv2, SNR |
| `of_pycbc.py`, `of_bilby.py` | signals and noise of three detectors |
| `of_audio.py` | the filters of torchaudio, the constant-Q transform of nnAudio |
| `of_training.py` | timm's training step, scikit-learn's AUC, torch's loader over files |

Open comparison.py first. Installing them: docs/how-to/compare-with-other-packages.md.
"""
