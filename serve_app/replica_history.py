"""Counts the deaths of a deployment's processes and says why they ended.

Serve replaces a replica whose process ends, for ever and without a word. So a model whose weights crash the process, or
for which memory is too short, would only ever be seen to load.
"""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from serve_app.system import DeploymentState, DeploymentStatus

MAX_DEATHS_IN_A_ROW = 3
"""After so many deaths, callers no longer wait for the next process."""
PROVEN_S = 60.0
"""A process that has been of use for so long ends the row."""

UNKNOWN_CAUSE = "without an error message: it crashed, or was killed, as the system does when memory runs out"
_PROCESS_DIED = "worker process has died"
"""What Ray's error says if a process ended in its constructor."""
MIN_FREE_BYTES = 2**20
"""With less free, the disk of the logs is full."""
_MAX_REMEMBERED = 1000
"""Processes that are remembered to have ended. Serve names the last ones only (100 at most)."""
_LOG_END_BYTES = 16_384
_LAST_WORDS = (
    (re.compile(r"Fatal Python error: ([^\n]+)"), "Fatal Python error: {}"),
    (re.compile(r"\*\*\* (SIG\w+) received"), "{}"),
    (re.compile(r"^(\w*MemoryError[^\n]*|[^\n]*terminate called after throwing[^\n]*)$", re.MULTILINE), "{}"),
)


class ReplicaHistory:
    """Observes one deployment.

    `cause_of_death` takes the process id, if known, of a process that has ended. `why_none_starts` returns why no new
    process can start at the moment, or an empty string.
    """

    def __init__(
        self, name: str, cause_of_death: Callable[[int | None], str], why_none_starts: Callable[[], str]
    ) -> None:
        self._name = name
        self._cause_of_death = cause_of_death
        self._why_none_starts = why_none_starts
        self._alive: dict[str, int | None] = {}
        self._dead: deque[str] = deque(maxlen=_MAX_REMEMBERED)
        self._is_new = True
        self._num_deaths = 0
        self._deaths_in_a_row = 0
        self._detail = ""
        self._useful_since: float | None = None
        self.status = DeploymentStatus(name, "starting")
        self.failure: str | None = None
        """Why calls are refused; None if they are not."""

    def observe(self, details: Mapping[str, Any], *, is_ready: bool, progress: str = "") -> None:
        """Take note of Serve's details of the deployment (`DeploymentDetails` in ray.serve.schema).

        `is_ready`: whether a process, if there is one, can be of use, which takes a loaded model if the deployment has
        one. `progress` is what the last process was last known to do.
        """
        replicas = {replica["replica_id"]: replica for replica in details["replicas"]}
        ended = {replica["replica_id"]: replica.get("pid") for replica in details.get("recent_dead_replicas", ())}
        alive = {name: replica.get("pid") for name, replica in replicas.items() if replica["state"] != "STOPPING"}
        # A process that came and went since the last observation is only among the ended ones.
        for replica_id, pid in {**ended, **self._alive}.items():
            if replica_id not in alive and replica_id not in self._dead:
                self._dead.append(replica_id)
                self._note_death(pid, progress)
        if self._is_new:  # the ingress is new, not the server: those deaths may be long ago
            self._deaths_in_a_row = 0
        self._is_new = False
        self._alive = alive
        is_running = any(replica["state"] == "RUNNING" for replica in replicas.values())
        self._note_usefulness(is_running and is_ready)
        self.failure = None if self._useful_since is not None else self._failure(details, is_running)
        state: DeploymentState = "failing" if self.failure else "running" if is_running else "starting"
        self.status = DeploymentStatus(self._name, state, self._num_deaths, self.failure or self._detail)

    def _note_death(self, pid: int | None, progress: str) -> None:
        self._num_deaths += 1
        self._deaths_in_a_row += 1
        cause = self._cause_of_death(pid) or UNKNOWN_CAUSE
        during = f" while it was loading ({progress})" if progress else ""
        self._detail = f"Its process ended at {time.strftime('%Y-%m-%d %H:%M:%S')}{during}, {cause}."

    def _note_usefulness(self, is_useful: bool) -> None:
        if not is_useful:
            self._useful_since = None
        elif self._useful_since is None:
            self._useful_since = time.monotonic()
        elif time.monotonic() - self._useful_since > PROVEN_S:
            self._deaths_in_a_row = 0

    def _failure(self, details: Mapping[str, Any], is_running: bool) -> str | None:
        error = details.get("message", "").partition("Error:\n")[2].strip()
        # An exception of the constructor will be raised again. A process that died may have been killed just once.
        if error and not is_running and _PROCESS_DIED not in error:
            return f"{self._name} cannot be started: {error.splitlines()[-1].strip()}"
        if self._deaths_in_a_row >= MAX_DEATHS_IN_A_ROW:
            return f"{self._name} has stopped {self._deaths_in_a_row} times in a row. {self._detail}"
        # Serve goes on waiting for such a process, and counts no death.
        if not is_running and (reason := self._why_none_starts()):
            return f"{self._name} cannot be started {reason}."
        return None


def full_disk(logs: Path) -> str:
    """Return that the disk is full, as the end of a sentence, if there is no room for logs; else an empty string.

    Ray's processes cannot start where they cannot write to `logs`, and those that run may die. Programs that tidy up
    temporary folders may have removed it after some days.
    """
    if not logs.is_dir():
        return ""
    disk = os.statvfs(logs)
    has_no_bytes = disk.f_bavail * disk.f_frsize < MIN_FREE_BYTES
    has_no_files = disk.f_files > 0 and disk.f_favail == 0  # some file systems have no limit
    return f"since the disk is full: free some space in {logs.parent}" if has_no_bytes or has_no_files else ""


def cause_of_death(pid: int | None, logs: Path) -> str:
    """Return why a process ended, as far as that can be known, or an empty string.

    The log of a process may end with the reason.
    """
    if reason := full_disk(logs):
        return reason
    if pid is None:
        return ""
    for path in logs.glob(f"worker-*-{pid}.err"):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_END_BYTES))
            end = file.read().decode(errors="replace")
        for pattern, text in _LAST_WORDS:
            if found := pattern.search(end):
                return "with " + text.format(found[1].strip())
    return ""
