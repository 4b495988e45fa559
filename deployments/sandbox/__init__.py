"""Runs decoders on untrusted files in processes that can be killed.

A decoder cannot be interrupted from inside: `image.load()` and `av.open` return when they are done, and a hostile file
can make that minutes and gigabytes. So each file is decoded in a process of its own, with a limit on its memory, which
is killed when the deadline passes or the client is gone.

    replica ── Sandbox (client.py) ── control socket ──> fork server (server.py), which has imported the decoder
                  │                                          │ fork, a few milliseconds
                  └── socket of the job: reads, progress, values, error ──> child

The child does not get a copy of the file. It asks for the parts that it reads, and the replica's thread answers while
it waits for values. The messages are in messages.py.
"""

from deployments.sandbox.client import Sandbox

__all__ = ["Sandbox"]
