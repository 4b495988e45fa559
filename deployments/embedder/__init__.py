"""Turns text into vectors whose cosine says how alike two texts are in meaning (all-MiniLM-L6-v2)."""
