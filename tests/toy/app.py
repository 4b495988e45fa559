"""The toy capability's node and routes, and the graph with it: `import_path: tests.toy.app:build_app`.

Adding this capability changed no file outside this folder.
"""

from fastapi import APIRouter
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse

from serve_app.app import bind_graph
from serve_app.graph import GRAPH, Node
from serve_app.request_info import context_of
from tests.toy.protocol import NotebookService
from tests.toy.settings import ToyConfig

NOTEBOOK = Node(
    name="Notebook",
    class_path="tests.toy.deployment:NotebookDeployment",
    protocol=NotebookService,
    sections=("notebook",),
    methods={"add": "with_request_id", "add_blindly": "never", "hang": "always", "notes": "always"},
    has_threads=True,
    routes="tests.toy.app:router",
)

router = APIRouter()


@router.post("/toy/hang")
async def hang(request: Request) -> JSONResponse:
    context = context_of(request)
    await context.service(NOTEBOOK).hang(deadline=context.deadline())
    return JSONResponse({})


@router.post("/toy/{method}")
async def add(request: Request, method: str, note: str) -> JSONResponse:
    context = context_of(request)
    notebook = context.service(NOTEBOOK)
    add = notebook.add if method == "add" else notebook.add_blindly
    return JSONResponse({"count": await add(note, deadline=context.deadline())})


@router.get("/toy/notes")
async def notes(request: Request) -> JSONResponse:
    context = context_of(request)
    return JSONResponse({"notes": await context.service(NOTEBOOK).notes(deadline=context.deadline())})


def build_app(config: ToyConfig) -> Application:
    return bind_graph(config, (*GRAPH, NOTEBOOK))
