"""Arithmetic that the models share: int8 layers, attention to kept keys and values, loops compiled for the CPU."""
