"""The interface through which health and admission learn the state of the machine, the deployments and the models."""

from dataclasses import dataclass
from typing import Literal, Protocol

from deployments.model_loader import ModelStatus

DeploymentState = Literal["starting", "running", "failing"]


@dataclass(frozen=True)
class DeploymentStatus:
    """The state of one deployment's process, as the health endpoint shows it."""

    name: str
    state: DeploymentState
    """`failing`: it cannot be started, or keeps crashing; calls to it are refused at once."""
    num_deaths: int = 0
    """How often its process has ended unexpectedly since the server was started."""
    detail: str = ""
    """About work that cannot be stopped, and when and why its process ended the last time; empty without either."""


class System(Protocol):
    """The state of the machine and the app's processes. Every method returns at once, with the last value measured."""

    def models(self) -> list[ModelStatus]:
        """Return the state of each model, in the order of the graph's nodes."""

    def deployments(self) -> list[DeploymentStatus]:
        """Return the state of each deployment behind the ingress, in the order of the graph's nodes."""

    def memory_usage_mb(self) -> float:
        """Return the memory of all processes of the app, Ray's included."""

    def available_memory_mb(self) -> float:
        """Return the memory that is free on the machine."""

    def cpu_usage_percent(self) -> float:
        """Return how busy the machine's CPUs are, from 0 to 100."""

    def usage_stats_enabled(self) -> bool:
        """Return whether Ray's usage statistics are on."""
