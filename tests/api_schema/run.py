"""Runs Schemathesis against a running server."""

import os
import subprocess
import sys
import tempfile

from deployments.project import project_folder

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "unsupported_method",
    "allow_header_conformance",
)
"""Each answer has a documented status, content type, headers and body; data that the schema forbids is refused; data
that it allows is accepted, but for what hooks.py says; other methods are 405 with the right `Allow`."""


def try_requests(
    url: str, examples: int, seed: int, *, has_edge_cases: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Send up to `examples` generated requests to each operation, and a fixed set of edge cases before, which takes a
    minute or two.

    Returns the finished process: its status is 0 if all answers agree with the schema, and its output is the report.
    """
    with tempfile.TemporaryDirectory() as folder:  # Schemathesis and Hypothesis keep files in the current folder
        return subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
                *("--phases", "examples,coverage,fuzzing" if has_edge_cases else "examples,fuzzing"),
                *("--checks", ",".join(CHECKS)),
                *("--max-examples", str(examples), "--seed", str(seed)),
                *("--continue-on-failure", "--warnings", "off", "--request-timeout", "120"),
            ],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(project_folder()), os.environ.get("PYTHONPATH", "")]),
                "SCHEMATHESIS_HOOKS": "tests.api_schema.hooks",
                "NO_COLOR": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
