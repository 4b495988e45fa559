"""Requests to the routes below /v1, and what their errors must look like."""

import base64
from typing import Any

import httpx

from tests.serve_app.conftest import ORIGIN


def chat(picture: str, question: str | None = "What is it?", **parameters: Any) -> dict[str, Any]:
    """Return the body of a chat with one message; `picture` is base64."""
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}]
    if question is not None:
        parts.append({"type": "text", "text": question})
    return {"model": "moondream2", "messages": [{"role": "user", "content": parts}], **parameters}


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check what every error below /v1 must have, and return its `error`."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-should-retry"] == str("retry-after" in response.headers).lower()
    body: dict[str, Any] = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    error: dict[str, Any] = body["error"]
    return error


def picture_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
