"""`POST /mcp`: the Model Context Protocol, by which programs with a language model call tools."""

from serve_app.routes.mcp.endpoint import router

__all__ = ["router"]
