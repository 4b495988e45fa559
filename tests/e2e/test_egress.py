"""Nothing leaves the machine: no packet of a whole life of the server goes to another address."""

import json
import shutil
import subprocess
import sys

import pytest

from deployments.project import project_folder
from tests.e2e.fake_network import CANNOT, CONTROL

pytestmark = pytest.mark.e2e


def new_network_namespace() -> list[str]:
    """Return the command that runs another one in a network namespace of its own; skips where that is not allowed."""
    for command in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return command
    pytest.skip("this machine allows no network namespaces: run the tests as root on Linux")


def test_a_server_sends_no_packet_to_another_machine() -> None:
    run = subprocess.run(
        [*new_network_namespace(), sys.executable, "-m", "tests.e2e.fake_network"],
        cwd=project_folder(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if run.returncode == CANNOT:
        pytest.skip(f"the network namespace cannot be set up: {run.stderr}")
    assert run.returncode == 0, run.stderr
    destinations = json.loads(run.stdout)
    assert f"UDP to {CONTROL} port 53" in destinations, "the test does not see packets"
    assert destinations == [f"UDP to {CONTROL} port 53"]
