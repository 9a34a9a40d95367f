"""Neuron scores and sets, on arrays alone."""
