"""The tools of /mcp that work on the library."""

import json
from typing import Any

from tests.serve_app.library.conftest import LibraryApi

PAGE = {"type": "document", "page": 5, "boxes": [[0.1, 0.2, 0.9, 0.22]]}


def call(api: LibraryApi, tool: str, **arguments: Any) -> Any:
    params = {"name": tool, "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    response = api.client.post("/mcp", json=body, headers={"Accept": "application/json, text/event-stream"})
    assert response.status_code == 200
    result = json.loads(response.text.partition("data: ")[2])["result"]
    assert result["isError"] is False, result
    return result["structuredContent"]


def test_search_finds_passages_and_answer_cites_them(api: LibraryApi) -> None:
    api.upload(b"%PDF-1.7\n1", "budget.pdf")
    api.index(("The travel budget for 2024 is 4,200 euros.", PAGE, []))
    found = call(api, "search", query="travel budget", limit=3, filter_type="document")
    assert [result["metadata"]["filename"] for result in found["results"]] == ["budget.pdf"]
    assert found["response"] == ""
    answer = call(api, "answer", question="What is the travel budget?")
    assert answer["response"] == "The travel budget for 2024 is 4,200 euros. [1]"
    assert answer["citations"][0]["source_info"]["page"] == 5
