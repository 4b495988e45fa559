"""What a deployment gets that works in the background: the services that it calls, and its turn.

Background work goes on only while no request is worked on. It waits before each of its steps and holds no place in the
queue: a request that arrives during such a step waits for its end at most.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from deployments.log import logger
from serve_app.graph import INGRESS, Node
from serve_app.object_store import in_object_store
from serve_app.remote_service import RemoteService

RETRY_S = 1.0


def background_worker(cls: type, uses: Sequence[Node[Any]]) -> type:
    """Return a subclass of `cls` that takes Serve's handles of the deployments in `uses` in place of their services."""

    class BackgroundWorker(cls):  # type: ignore[misc]
        def __init__(self, **arguments: Any) -> None:
            services = {node.keyword: RemoteService(arguments.pop(node.keyword), node) for node in uses}
            super().__init__(**arguments, **services, wait_for_turn=_wait_for_turn, share=in_object_store)

    BackgroundWorker.__name__ = cls.__name__  # Serve's logs show it
    return BackgroundWorker


async def _wait_for_turn() -> None:
    """Return when no request is being worked on, or after a time that keeps background work from starving."""
    ingress: DeploymentHandle[Any] = serve.get_deployment_handle(INGRESS, serve.get_replica_context().app_name)
    try:
        await ingress.wait_until_idle.remote()
    except (RayActorError, DeploymentUnavailableError, BackPressureError) as error:
        logger.warning("The ingress did not give a turn: %s", error)
        await asyncio.sleep(RETRY_S)  # while it restarts, no request is worked on
