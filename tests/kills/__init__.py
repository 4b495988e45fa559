"""Kills the library's process at random moments, and checks what is left: nothing acknowledged is lost,
nothing gone is shown.

`python -m tests.kills [--kills 200] [--seed 1] [--postgres]`
"""
