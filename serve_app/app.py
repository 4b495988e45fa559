"""Binds the graph: no other module does.

    browser, curl ──HTTP──> Serve's proxy ──> Ingress (FastAPI)
                                                 │
                                                 ├── video ───────────> FrameSampler   returns frames to the Ingress
                                                 ├── images, frames ──> Captioner
                                                 ├── audio ───────────> Transcriber
                                                 └── library, search ─> Library, Embedder, Answerer, ...
                                                                           │ jobs
                                                         Indexing <────────┘ calls all the others

`serve run serve_config.yaml` calls `build_app` with the YAML's `args:`, validated into AppConfig. Postponed annotations
(`from __future__ import annotations`) must stay out of this file: Serve looks at the parameter's type itself.
"""

from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any

from ray import serve
from ray.serve import Application

from serve_app.background import background_worker
from serve_app.graph import GRAPH, INGRESS_OPTIONS, Node
from serve_app.ingress import Ingress
from serve_app.port_conflict import refuse_shared_port
from serve_app.settings import AppConfig


def build_app(config: AppConfig) -> Application:
    """Return the graph of `serve_app/graph.py`, bound behind the ingress."""
    return bind_graph(config, GRAPH)


def bind_graph(config: AppConfig, nodes: Sequence[Node[Any]]) -> Application:
    """Return `nodes`, one deployment each, bound behind the ingress; raises PortConflict if that cannot be served."""
    refuse_shared_port()
    handles: dict[str, Application] = {}
    for node in nodes:
        handles[node.name] = _bind_node(node, config, handles)
    ingress = _deployment(Ingress, INGRESS_OPTIONS, config)
    return ingress.bind(config, nodes, **handles)


def _bind_node(node: Node[Any], config: AppConfig, handles: Mapping[str, Application]) -> Application:
    """Bind a deployment; `handles` has those of the nodes before it, by name."""
    cls = resolve_name(node.class_path)
    deployment = _deployment(background_worker(cls, node.uses) if node.uses else cls, node.serve_options(), config)
    sections = {section: getattr(config, section) for section in node.sections}
    loading = {"lazy": node.is_lazy(config.serving.lazy_loading)} if node.model_section else {}
    services = {used.keyword: handles[used.name] for used in node.uses}
    return deployment.bind(**sections, **loading, **services)


def _deployment(cls: type, options: Mapping[str, Any], config: AppConfig) -> serve.Deployment:
    logging_config = {
        "log_level": config.serving.log_level,
        "encoding": config.serving.log_format.upper(),
        # The ingress logs each request itself (request_log.py); a line for each call would bury that.
        "enable_access_log": False,
    }
    return serve.deployment(**options, logging_config=logging_config)(cls)
