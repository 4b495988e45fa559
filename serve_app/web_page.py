"""Serves the page at `/app/`: the files in `page/`, which `npm run export` in `web/` makes."""

import base64
import hashlib
import os
import re
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

PAGE_PATH = "/app"
PAGE_FOLDER = Path(__file__).with_name("page")

_HASHED_NAMES = re.compile(r"_next/static/(chunks|media)/")
"""Files whose names change with their content."""
_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


def add_page(api: FastAPI) -> None:
    """Mount the page. A path that it does not have is answered in JSON, like any other."""
    api.mount(PAGE_PATH, _Page(PAGE_FOLDER))

    @api.head(PAGE_PATH, include_in_schema=False)
    @api.get(PAGE_PATH, include_in_schema=False)
    async def page() -> RedirectResponse:
        return RedirectResponse(f"{PAGE_PATH}/")


class _Page(StaticFiles):
    """The files of the page; each of its sections has a policy that lets it load nothing from elsewhere."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        path = Path(full_path)
        is_hashed = _HASHED_NAMES.search(path.as_posix()) is not None
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if path.suffix == ".html":
            response.headers["Content-Security-Policy"] = content_security_policy(path.read_bytes())
            response.headers["Referrer-Policy"] = "no-referrer"
        return response


def content_security_policy(html: bytes) -> str:
    """Return the policy: all from this server, scripts within this HTML by their hashes, no frame around the page."""
    hashes = sorted({f"'sha256-{_digest(script)}'" for script in _INLINE_SCRIPT.findall(html)})
    directives = {
        "default-src": "'none'",
        "script-src": " ".join(["'self'", *hashes]),
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "media-src": "'self' blob:",
        "connect-src": "'self'",
        "frame-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def _digest(script: bytes) -> str:
    return base64.b64encode(hashlib.sha256(script).digest()).decode()
