"""What runs in the process of the tests."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deployments.cancellation import Cancellation
from deployments.errors import InvalidFile, ModelNotLoaded
from deployments.model_loader import ReportProgress


def load(settings: Mapping[str, Any], report: ReportProgress) -> tuple[Callable[..., Any], Any]:
    report("reading the weights")
    if settings.get("missing"):
        raise ModelNotLoaded("The weights are missing.")
    if settings.get("crash"):
        os.abort()
    return run, {"weight_bytes": settings["weight_bytes"]}


def run(action: str, value: Any, cancellation: Cancellation) -> Any:
    if action == "double":
        return value * 2
    if action == "return nothing that can be sent":
        return np.float32(1)
    if action == "refuse":
        raise InvalidFile("It is damaged.")
    if action == "fail":
        raise KeyError(value)
    if action == "crash":
        os.abort()
    while True:
        cancellation.check("one step was done")
        time.sleep(0.01)
