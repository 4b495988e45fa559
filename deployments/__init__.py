"""One package per capability: its Ray class in `deployment.py`, the plain code that does the work beside it."""
