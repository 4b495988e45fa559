"""The ingress deployment: the FastAPI app of `api.py`, served by Ray, with handles for services."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from deployments.log import hide_expected_errors
from serve_app.api import create_api
from serve_app.error_handlers import CLIENT_CLOSED_REQUEST
from serve_app.handles import CaptionerHandle, FrameSamplerHandle, Replica, TranscriberHandle
from serve_app.services import Services
from serve_app.settings import AppConfig
from serve_app.system import SystemMonitor


@serve.deployment(
    name="Ingress",
    num_replicas=1,
    max_ongoing_requests=1000,
    graceful_shutdown_timeout_s=5,
    ray_actor_options={"num_cpus": 0},
)
@serve.ingress()
class Ingress:
    """Translates between HTTP and the graph; admission, deadlines and answers are decided here, in one replica.

    `max_ongoing_requests` is far above what the app admits, so that a request too many is refused by the app, in JSON,
    and not by Serve's proxy in plain text.
    """

    def __init__(
        self,
        captioner: DeploymentHandle[Any],
        transcriber: DeploymentHandle[Any],
        frame_sampler: DeploymentHandle[Any],
        config: AppConfig,
    ) -> None:
        hide_expected_errors()
        captioner_replica, transcriber_replica = Replica(captioner), Replica(transcriber)
        system = SystemMonitor([captioner_replica, transcriber_replica], config)
        system.start()
        self._config = config
        self._services = Services(
            captioner=CaptionerHandle(captioner_replica),
            transcriber=TranscriberHandle(transcriber_replica),
            frame_sampler=FrameSamplerHandle(Replica(frame_sampler)),
            system=system,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        api = create_api(self._services, self._config)
        api.add_exception_handler(TaskCancelledError, _end_quietly)
        return api


async def _end_quietly(request: Request, error: Exception) -> Response:
    """Answer, to nobody, a request whose client left: reading its body ends with Ray's error then."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)
