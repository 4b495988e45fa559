"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import json
from typing import Any


def format_event(data: Any, *, name: str | None = None, number: int | None = None) -> str:
    """Return one event; `data` is written as JSON. A client that connects again sends back the last `number`."""
    fields = {"id": number, "event": name, "data": json.dumps(data, ensure_ascii=False)}
    return "".join(f"{field}: {value}\n" for field, value in fields.items() if value is not None) + "\n"
