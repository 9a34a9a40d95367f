"""The hooked reward model and its forward passes."""
