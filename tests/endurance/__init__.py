"""The load test, the library's endurance test and the memory soak: many clients on a real server of the miniatures.

    python -m tests.endurance.load --minutes 10 --clients 10
    python -m tests.endurance.library --minutes 10 --clients 10
    python -m tests.endurance.soak --requests 20000

They start the server themselves, or use a running one (`--url`). docs/reliability.md has their figures.
"""
