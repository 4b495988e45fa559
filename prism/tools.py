"""Imports the packages that a checkout and an installed copy have under different names."""

import importlib
from types import ModuleType

from deployments.project import is_installed


def import_tool(name: str) -> ModuleType:
    """Import a module of `samples` or `benchmarks`, such as `samples.program`.

    In a checkout these are top-level packages. An installed copy has them inside `prism`, because such common names
    must not be put into site-packages.
    """
    return importlib.import_module(f"prism.{name}" if is_installed() else name)
