"""Programs in Linux namespaces of their own, where they may have a network or a file system that nobody else sees."""

import shutil
import subprocess
import sys

import pytest

from deployments.project import project_folder

CANNOT = 77
"""The exit status of a program that cannot set up its namespace."""


def run_in_namespace(kind: str, module: str, timeout_s: float = 300) -> str:
    """Run `python -m module` in a new namespace of that kind (an option of unshare); return what it writes.

    Skips the test where namespaces are not allowed. Fails if the program does, with what it has written to stderr.
    """
    for command in (["unshare", f"--{kind}"], ["unshare", "--user", "--map-root-user", f"--{kind}"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            break
    else:
        pytest.skip(f"this machine allows no {kind} namespaces: run the tests as root on Linux")
    run = subprocess.run(
        [*command, sys.executable, "-m", module],
        cwd=project_folder(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if run.returncode == CANNOT:
        pytest.skip(f"the {kind} namespace cannot be set up: {run.stderr}")
    assert run.returncode == 0, run.stderr
    return run.stdout
