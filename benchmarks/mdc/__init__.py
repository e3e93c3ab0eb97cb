"""How far does a search see, at a false-alarm rate? The measure of the MLGWSC-1 challenge."""
