"""What routes and analyses work with; nothing here knows HTTP."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from deployments.errors import DeadlineExceeded
from deployments.media import Media
from serve_app.admission import Admission
from serve_app.graph import Node
from serve_app.json_body import json_body_limit
from serve_app.settings import AppConfig
from serve_app.system import System

S = TypeVar("S")


class AppContext:
    """The graph's services, the settings, admission control and the machine's state. There is one for the whole app."""

    def __init__(
        self,
        services: Mapping[str, Any],
        settings: AppConfig,
        system: System,
        share: Callable[[Media], Awaitable[Media]],
    ) -> None:
        """`services` are keyed by the names of their nodes. `share` does the work of the method of that name."""
        self.settings = settings
        self.system = system
        image_bytes = settings.limits.max_file_bytes(settings.limits.image_mb)
        self.admission = Admission(
            settings.serving,
            large_body_bytes=json_body_limit(image_bytes),
            available_memory_mb=system.available_memory_mb,
        )
        self._services = services
        self._share = share

    def service(self, node: Node[S]) -> S:
        """Return the service of a row of the graph: an object with the methods of `node.protocol`."""
        service: S = self._services[node.name]
        return service

    async def share(self, media: Media) -> Media:
        """Return `media` for calls to services, copied once into memory that all processes of the graph share.

        In the running graph it is a reference, which Ray replaces by the array when it is the argument of a call. So
        the result can only be used as an argument.
        """
        return await self._share(media)

    def deadline(self) -> float:
        """Return the deadline of a request that arrives now, in epoch seconds."""
        return time.time() + self.settings.serving.request_timeout_s

    @contextmanager
    def explain_timeouts(self, advice: str) -> Iterator[None]:
        """Turn a DeadlineExceeded, which says how far the work got, into a message that also says what to change."""
        try:
            yield
        except DeadlineExceeded as error:
            progress = f": {error}" if str(error) else ""
            timeout_s = self.settings.serving.request_timeout_s
            raise DeadlineExceeded(
                f"The request ran out of its {timeout_s:g} s{progress}. {advice}, or raise REQUEST_TIMEOUT_SECONDS."
            ) from error
