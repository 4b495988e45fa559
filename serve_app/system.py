"""What health shows of the machine and the models."""

from typing import Protocol

from deployments.model_loader import ModelStatus


class System(Protocol):
    """The machine and the app's processes; every figure is the last one measured, so that asking never waits."""

    def models(self) -> list[ModelStatus]:
        """Return the state of each model, in the order of the graph's rows."""

    def memory_usage_mb(self) -> float:
        """Return the memory of all processes of the app."""

    def available_memory_mb(self) -> float:
        """Return the memory that is free on the machine."""

    def cpu_usage_percent(self) -> float: ...

    def usage_stats_enabled(self) -> bool:
        """Return whether Ray's usage statistics are on."""
