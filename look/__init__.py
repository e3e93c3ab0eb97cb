"""What a network is given, seen before it is trained: strain, prepared strain, and images of it.

Imports experiments and what lies below; `tutorial.ipynb` draws with it. Open `samples.py` first,
which reads samples, then `network_input.py` for what the transforms and the front-end make of them,
and `pictures.py` for the drawing.
"""
