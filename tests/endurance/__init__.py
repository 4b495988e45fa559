"""The load test and the memory soak: many mixed clients on a real server of the miniatures.

    python -m tests.endurance.load --minutes 10 --clients 10
    python -m tests.endurance.soak --requests 20000

Both start the server themselves, or use a running one (`--url`). docs/reliability.md has their figures.
"""
