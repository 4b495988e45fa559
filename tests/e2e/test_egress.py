"""Nothing leaves the machine: no packet of a whole life of the server goes to another address."""

import json

import pytest

from tests.e2e.fake_network import CONTROL
from tests.e2e.namespaces import run_in_namespace

pytestmark = pytest.mark.e2e


def test_a_server_sends_no_packet_to_another_machine() -> None:
    destinations = json.loads(run_in_namespace("net", "tests.e2e.fake_network"))
    assert f"UDP to {CONTROL} port 53" in destinations, "the test does not see packets"
    assert destinations == [f"UDP to {CONTROL} port 53"]
