"""`python -m tests.api_schema`: starts a server on the miniatures and compares it with its own /openapi.json."""

import argparse
import sys

from deployments.project import project_folder
from samples.running_server import running_server
from tests.api_schema.run import try_requests


def main() -> int:
    """Write the report; return 0 if all answers agree with the schema."""
    parser = argparse.ArgumentParser("python -m tests.api_schema", description=__doc__)
    parser.add_argument("--examples", type=int, default=300, metavar="N", help="generated requests for each operation")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other requests")
    options = parser.parse_args()
    with running_server(project_folder() / "config/mini.yaml") as server:
        run = try_requests(server.url, options.examples, options.seed)
    sys.stdout.write(run.stdout + run.stderr)
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
