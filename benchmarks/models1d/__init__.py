"""What the networks on the waveform cost."""
