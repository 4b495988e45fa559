"""Runs a server where every packet to another machine is seen. tests/e2e/test_egress.py runs this in a new network
namespace: `unshare --net python -m tests.e2e.fake_network`.

The namespace gets loopback and one interface with a default route, so it looks like a machine on a network. Packets
through that interface arrive here (it is a TUN device) and nowhere else. The output is JSON: the destinations.
"""

import fcntl
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

from deployments.project import project_folder
from samples.running_server import running_server
from tests.e2e.client import DATA, answer_of, post_file
from tests.e2e.namespaces import CANNOT

CONTROL = "192.0.2.7"
"""Packets are sent there before the server starts, to prove that they are seen."""

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_FROM_THE_KERNEL = {"IGMP", "IPv6-Hop-by-Hop", "ICMPv6"}
"""Multicast and neighbour discovery, which belong to any interface that is up."""
_PROTOCOLS = {0: "IPv6-Hop-by-Hop", 1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}


def main() -> int:
    try:
        device = _set_up()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return CANNOT
    destinations: list[str] = []
    threading.Thread(target=_read, args=(device, destinations), daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.sendto(b"seen?", (CONTROL, 53))
    with running_server(project_folder() / "config/mini.yaml") as server:
        answer_of(post_file(server.url, "image", DATA / "picture.jpg", max_length=5))
        answer_of(post_file(server.url, "video", DATA / "clip.mp4", num_frames=1, max_length=5, include_audio="true"))
        time.sleep(3)  # for what Ray does in the background
    sys.stdout.write(json.dumps(sorted(set(destinations))))
    return 0


def _set_up() -> int:
    """Bring the interfaces up; return the file descriptor from which packets can be read."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"out", _IFF_TUN | _IFF_NO_PI))
    for command in (
        "link set lo up",
        "addr add 198.51.100.2/24 dev out",
        "link set out up",
        "route add default dev out",
    ):
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)
    for command in ("addr add fd00::2/64 dev out nodad", "route add default dev out"):  # where there is IPv6
        subprocess.run(["ip", "-6", *command.split()], check=False, capture_output=True)
    return device


def _read(device: int, destinations: list[str]) -> None:
    while True:
        described = _describe(os.read(device, 65_536))
        if described is not None:
            destinations.append(described)


def _describe(packet: bytes) -> str | None:
    """Return protocol, destination and port of an IP packet; None for those that the kernel sends by itself."""
    if packet[0] >> 4 == 4:
        number, address, payload = packet[9], packet[16:20], packet[(packet[0] & 15) * 4 :]
    else:
        number, address, payload = packet[6], packet[24:40], packet[40:]
    protocol = _PROTOCOLS.get(number, str(number))
    if protocol in _FROM_THE_KERNEL:
        return None
    port = f" port {int.from_bytes(payload[2:4], 'big')}" if protocol in ("TCP", "UDP") else ""
    return f"{protocol} to {ipaddress.ip_address(address)}{port}"


if __name__ == "__main__":
    sys.exit(main())
