"""The ingress deployment: the FastAPI app of `api.py`, served by Ray, with the graph's deployments as services."""

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.handle import DeploymentHandle
from starlette.middleware import Middleware

from deployments.log import hide_expected_errors
from serve_app.api import create_api
from serve_app.context import AppContext
from serve_app.error_handlers import answer_disconnected_client
from serve_app.graph import Node
from serve_app.object_store import in_object_store
from serve_app.remote_service import RemoteService
from serve_app.settings import AppConfig
from serve_app.speeds import FILE_NAME, Speeds
from serve_app.stopping import RefuseWhileStopping, Stopping
from serve_app.system_monitor import SystemMonitor
from serve_app.upload_memory import GiveBackMemory


@serve.ingress()
class Ingress:
    """Serves HTTP and calls the other deployments. Its one replica decides admission and deadlines for all clients."""

    def __init__(self, config: AppConfig, nodes: Sequence[Node[Any]], **handles: DeploymentHandle[Any]) -> None:
        """Take the handle of each node by the node's name."""
        hide_expected_errors()
        services = {node.name: RemoteService(handles[node.name], node) for node in nodes}
        system = SystemMonitor(nodes, services, config, _read_deployments)
        system.start()
        self._nodes = nodes
        self._context = AppContext(
            services, config, system, in_object_store, Speeds(config.weights.cache_dir / FILE_NAME)
        )
        self._stopping = Stopping()

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = create_api(self._context, self._nodes)
        # The last middleware is the innermost: its errors become JSON with CORS headers.
        api.user_middleware.append(Middleware(RefuseWhileStopping, self._stopping))
        api.user_middleware.insert(0, Middleware(GiveBackMemory))
        # What reading the body of a request raises in a replica when the client has disconnected.
        api.add_exception_handler(TaskCancelledError, answer_disconnected_client)
        return api

    async def stop_serving(self) -> None:
        """Finish or refuse all requests. `prism serve` calls this before it ends Serve."""
        await self._stopping.stop()

    async def wait_until_idle(self) -> None:
        """Return when no request is being worked on; background work waits for this before each step."""
        await self._context.admission.wait_until_idle()


async def _read_deployments() -> Mapping[str, Any]:
    """Return Serve's details of each deployment of this app, as its REST API shows them.

    The public `serve.status()` has no process ids and does not know processes that have ended.
    """
    controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    details = await controller.get_serve_instance_details.remote()
    deployments: Mapping[str, Any] = details["applications"][serve.get_replica_context().app_name]["deployments"]
    return deployments
