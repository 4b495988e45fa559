"""The HTTP side of the project: the graph, its ingress and the routes."""

__version__ = "0.2.0.dev0"
"""The project's version; `pyproject.toml` and the API's description take it from here."""
