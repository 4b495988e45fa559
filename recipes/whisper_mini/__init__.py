"""A miniature Whisper that understands a few hundred English, Spanish and French words, and how to train it."""
