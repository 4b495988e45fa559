"""The routes of the library: files, search, progress and figures."""

from fastapi import APIRouter

from serve_app.routes.library import events, files, history, places, search, state

router = APIRouter()
for _module in (state, files, places, search, history, events):
    router.include_router(_module.router)
