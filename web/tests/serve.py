"""Runs the server of the browser tests on a port until it is ended: `python web/tests/serve.py PORT`.

It is that of config/mini.yaml, with limits that a test can reach.
"""

import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from samples.running_server import running_server  # noqa: E402

SETTINGS = {
    "serving": {"max_concurrent_requests": 1, "max_queued_requests": 1, "request_timeout_s": 120},
    "limits": {"image_mb": 1},
}


def stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit


def main() -> None:
    """Write a line to standard output once the server is ready."""
    signal.signal(signal.SIGTERM, stop)
    document = yaml.safe_load((ROOT / "config/mini.yaml").read_text())
    document["applications"][0]["args"].update(SETTINGS)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "serve.yaml"
        config.write_text(yaml.safe_dump(document))
        with running_server(config, port=int(sys.argv[1])):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            signal.pause()


if __name__ == "__main__":
    main()
