"""Counts the deaths of a deployment's processes and says why they ended.

Serve replaces a replica whose process ends, for ever and without a word. So a model whose weights crash the process, or
for which memory is too short, would only ever be seen to load.
"""

import re
import shutil
import time
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
_LOG_END_BYTES = 16_384
_LAST_WORDS = (
    (re.compile(r"Fatal Python error: ([^\n]+)"), "Fatal Python error: {}"),
    (re.compile(r"\*\*\* (SIG\w+) received"), "{}"),
    (re.compile(r"^(\w*MemoryError[^\n]*|[^\n]*terminate called after throwing[^\n]*)$", re.MULTILINE), "{}"),
)


class ReplicaHistory:
    """Observes one deployment. `cause_of_death` takes the process id, if known, of a process that has ended."""

    def __init__(self, name: str, cause_of_death: Callable[[int | None], str]) -> None:
        self._name = name
        self._cause_of_death = cause_of_death
        self._alive: dict[str, int | None] = {}
        self._dead: set[str] = set()
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
                self._dead.add(replica_id)
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
        self._detail = f"Its process ended at {time.strftime('%H:%M:%S')}{during}, {cause}."

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
        return None


def cause_of_death(pid: int | None, logs: Path) -> str:
    """Return why a process ended, as far as that can be known, or an empty string.

    Ray's processes cannot live on a full disk, where they cannot write to `logs`. Otherwise the log of the process may
    end with the reason.
    """
    if shutil.disk_usage(logs).free < MIN_FREE_BYTES:
        return f"since the disk is full: free some space in {logs.parent}"
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
