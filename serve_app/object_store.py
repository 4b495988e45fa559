"""Ray's object store: memory that all processes of the graph share."""

import asyncio
from typing import cast

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

from deployments.errors import StorageFull
from deployments.media import Media
from serve_app.remote_service import STORAGE_FULL


async def put_into_object_store(media: Media) -> Media:
    """Copy media into the object store and return a reference; raises StorageFull.

    In a thread, because copying 100 MB would delay other requests noticeably. The reference is typed as Media, because
    Ray replaces it by the array in the process that is called.
    """
    try:
        return cast(Media, await asyncio.to_thread(ray.put, media))
    except (ObjectStoreFullError, OutOfDiskError) as error:
        raise StorageFull(STORAGE_FULL) from error
