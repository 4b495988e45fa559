"""Trains moondream-mini, a small Moondream that describes drawn scenes: `python -m recipes.moondream_mini`."""
