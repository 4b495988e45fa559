"""The ingress deployment: the FastAPI app of `api.py`, served by Ray, with the graph's deployments as services."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from deployments.log import hide_expected_errors
from deployments.media import Media
from serve_app.api import create_api
from serve_app.context import AppContext
from serve_app.error_handlers import CLIENT_CLOSED_REQUEST
from serve_app.graph import Node
from serve_app.remote_service import RemoteService
from serve_app.settings import AppConfig
from serve_app.system_monitor import SystemMonitor


@serve.ingress()
class Ingress:
    """Translates between HTTP and the graph. Admission, deadlines and answers are decided here, in one replica."""

    def __init__(self, config: AppConfig, nodes: Sequence[Node[Any]], **handles: DeploymentHandle[Any]) -> None:
        """Take the handle of each node by the node's name."""
        hide_expected_errors()
        services = {node.name: RemoteService(handles[node.name], node) for node in nodes}
        system = SystemMonitor(nodes, services, config)
        system.start()
        self._nodes = nodes
        self._context = AppContext(services, config, system, _put)

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = create_api(self._context, self._nodes)
        api.add_exception_handler(TaskCancelledError, _end_quietly)
        return api


async def _put(media: Media) -> Media:
    """Copy media into Ray's object store and return a reference.

    In a thread, because copying 100 MB takes long enough for other requests to notice. To callers the reference is a
    Media: Ray replaces it by the array in the process that is called.
    """
    return cast(Media, await asyncio.to_thread(ray.put, media))


async def _end_quietly(request: Request, error: Exception) -> Response:
    """Answer a request whose client is gone: reading its body then ends with Ray's error."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)
