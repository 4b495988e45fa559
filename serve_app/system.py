"""The interface through which health and admission learn the state of the machine and the models."""

from typing import Protocol

from deployments.model_loader import ModelStatus


class System(Protocol):
    """The state of the machine and the app's processes. Every method returns at once, with the last value measured."""

    def models(self) -> list[ModelStatus]:
        """Return the state of each model, in the order of the graph's rows."""

    def memory_usage_mb(self) -> float:
        """Return the memory of all processes of the app, Ray's included."""

    def available_memory_mb(self) -> float:
        """Return the memory that is free on the machine."""

    def cpu_usage_percent(self) -> float:
        """Return how busy the machine's CPUs are, from 0 to 100."""

    def usage_stats_enabled(self) -> bool:
        """Return whether Ray's usage statistics are on."""
