"""The explorer's four views: pair, what if, neuron map, neuron."""
