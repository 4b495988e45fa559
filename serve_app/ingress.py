"""The ingress deployment: the FastAPI app of `api.py`, served by Ray, with the graph's deployments as services."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve.handle import DeploymentHandle

from deployments.log import hide_expected_errors
from deployments.media import Media
from serve_app.api import create_api
from serve_app.context import AppContext
from serve_app.error_handlers import answer_disconnected_client
from serve_app.graph import Node
from serve_app.remote_service import RemoteService
from serve_app.settings import AppConfig
from serve_app.system_monitor import SystemMonitor


@serve.ingress()
class Ingress:
    """Serves HTTP and calls the other deployments. Its one replica decides admission and deadlines for all clients."""

    def __init__(self, config: AppConfig, nodes: Sequence[Node[Any]], **handles: DeploymentHandle[Any]) -> None:
        """Take the handle of each node by the node's name."""
        hide_expected_errors()
        services = {node.name: RemoteService(handles[node.name], node) for node in nodes}
        system = SystemMonitor(nodes, services, config)
        system.start()
        self._nodes = nodes
        self._context = AppContext(services, config, system, _put_into_object_store)

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = create_api(self._context, self._nodes)
        # What reading the body of a request raises in a replica when the client has disconnected.
        api.add_exception_handler(TaskCancelledError, answer_disconnected_client)
        return api


async def _put_into_object_store(media: Media) -> Media:
    """Copy media into Ray's object store and return a reference.

    In a thread, because copying 100 MB would delay other requests noticeably. The reference is typed as Media, because
    Ray replaces it by the array in the process that is called.
    """
    return cast(Media, await asyncio.to_thread(ray.put, media))
