"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import json
from typing import Any


def event(name: str, data: Any) -> str:
    """Return one event with a name; `data` is written as JSON."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
