"""Trains whisper-mini, a small Whisper for English, Spanish and French sentences: `python -m recipes.whisper_mini`."""
