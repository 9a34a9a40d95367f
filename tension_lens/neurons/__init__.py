"""Neuron scores and neuron sets, as NumPy arrays."""
