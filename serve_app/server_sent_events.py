"""The form of server-sent events."""

import json
from typing import Any


def event(name: str, data: Any) -> str:
    """Return one event, with data that can be written as JSON."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
