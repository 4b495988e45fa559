import asyncio
import json
import re
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from deployments.errors import ServiceError
from serve_app.modalities.audio import AudioOptions
from serve_app.modalities.image import ImageOptions
from serve_app.modalities.video import VideoOptions
from tests.serve_app.asgi import Exchange
from tests.serve_app.conftest import MP4, ORIGIN, WAV, MakeApi
from tests.serve_app.fakes import FakeGraph
from tests.serve_app.test_error_handlers import all_errors

ANALYSES = ["/api/analyze/image", "/api/analyze/video", "/api/analyze/audio", "/api/analyze/batch"]


@pytest.mark.parametrize("path", [*ANALYSES, "/api/health"])
@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://localhost:3001"])
def test_a_preflight_of_an_allowed_origin_passes(client: TestClient, path: str, origin: str) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET" if path == "/api/health" else "POST",
        "Access-Control-Request-Headers": "content-type, x-request-id",
    }
    response = client.options(path, headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == origin
    assert "content-type" in response.headers["access-control-allow-headers"]


def test_another_origin_gets_no_cors_headers(client: TestClient) -> None:
    response = client.get("/api/health", headers={"Origin": "http://evil.example"})
    assert "access-control-allow-origin" not in response.headers


def test_the_origins_are_a_setting(make_api: MakeApi) -> None:
    client = TestClient(make_api(serving={"cors_origins": "http://one.example, http://two.example"}))
    for origin in ("http://one.example", "http://two.example"):
        response = client.get("/nothing", headers={"Origin": origin})
        assert response.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("POST", "/api/analyze/image/", 404, "NOT_FOUND"),
        ("GET", "/docs/assets/nothing.js", 404, "NOT_FOUND"),
        ("GET", "/docs/assets/../api.py", 404, "NOT_FOUND"),
        ("GET", "/api/analyze/image", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/api/health", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/api/health", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/docs/assets/favicon.png", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_a_wrong_path_or_method_is_answered_in_json(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert set(response.json()) == {"success", "error", "timestamp"}
    assert response.headers["access-control-allow-origin"] == ORIGIN
    if status == 405:
        assert response.headers["allow"] == ("POST" if "analyze" in path else "GET, HEAD")


def test_browsers_may_read_the_headers_that_matter(client: TestClient) -> None:
    assert (
        client.get("/livez").headers["access-control-expose-headers"]
        == "Retry-After, X-Should-Retry, X-Request-ID, Content-Range, ETag"
    )


def test_the_request_id_is_left_to_the_proxy(client: TestClient) -> None:
    assert "x-request-id" not in client.get("/livez", headers={"X-Request-ID": "abc"}).headers


def test_a_full_queue_is_answered_at_once_and_unread(make_api: MakeApi, graph: FakeGraph, png_base64: str) -> None:
    graph.captioner.seconds = 5

    async def scenario() -> None:
        api = make_api(serving={"max_concurrent_requests": 1, "max_queued_requests": 0})
        headers = {"Content-Type": "application/json", "Origin": ORIGIN}
        first = Exchange(ANALYSES[0], headers, [json.dumps({"image": png_base64}).encode()])
        task = asyncio.create_task(first.run(api))
        while not graph.captioner.calls:
            await asyncio.sleep(0.01)
        second = Exchange(ANALYSES[0], headers, [b"{}"])
        await second.run(api)
        assert (second.status, second.num_read) == (503, 0)
        assert second.body["error"]["code"] == "SERVER_BUSY"
        sent = dict(second.messages[0]["headers"])
        assert int(sent[b"retry-after"]) >= 1
        assert sent[b"access-control-allow-origin"] == ORIGIN.encode()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_the_rate_limit_is_answered_with_the_time_to_wait(make_api: MakeApi, png: bytes) -> None:
    client = TestClient(make_api(serving={"requests_per_hour": 1}), headers={"Origin": ORIGIN})
    assert client.post(ANALYSES[0], files={"image": png}).status_code == 200
    response = client.post(ANALYSES[0], files={"image": png})
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "RATE_LIMITED"
    assert 3500 < int(response.headers["retry-after"]) <= 3600
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert client.get("/api/health").status_code == 200


def test_made_up_forwarded_addresses_do_not_lift_the_rate_limit(make_api: MakeApi, png: bytes) -> None:
    client = TestClient(make_api(serving={"requests_per_hour": 1}))
    statuses = [
        client.post(ANALYSES[0], files={"image": png}, headers={"X-Forwarded-For": f"9.9.9.{number}"}).status_code
        for number in range(2)
    ]
    assert statuses == [200, 429]


def test_too_little_memory_refuses_analyses_but_not_health(make_api: MakeApi, graph: FakeGraph, png: bytes) -> None:
    graph.system.free_mb = 100
    client = TestClient(make_api())
    response = client.post(ANALYSES[0], files={"image": png})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "SERVER_BUSY")
    assert client.get("/api/health").status_code == 200


def test_a_cancelled_request_stops_its_work_and_frees_its_slot(
    make_api: MakeApi, graph: FakeGraph, png_base64: str
) -> None:
    async def scenario() -> None:
        graph.captioner.seconds = 30
        api = make_api(serving={"max_concurrent_requests": 1, "max_queued_requests": 0})
        body = json.dumps({"image": png_base64}).encode()
        for _ in range(2):
            exchange = Exchange(ANALYSES[0], {"Content-Type": "application/json"}, [body])
            task = asyncio.create_task(exchange.run(api))
            while not graph.captioner.num_running:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert graph.captioner.num_cancelled == 2
        assert not exchange.messages

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_the_docs_page_names_no_other_host_and_its_assets_are_served(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text)
    assets = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert {asset.rsplit(".")[-1] for asset in assets} == {"js", "css", "png"}
    assert all(client.get(asset).status_code == 200 for asset in assets)


@pytest.fixture
def openapi(client: TestClient) -> Any:
    return client.get("/openapi.json").json()


def resolve(openapi: Any, schema: Any) -> Any:
    return {**schema, "components": openapi["components"]}


def test_every_example_in_the_schema_is_valid(openapi: Any) -> None:
    checked = 0
    for path in openapi["paths"].values():
        for operation in path.values():
            for holder in [operation.get("requestBody", {}), *operation["responses"].values()]:
                for media_type in holder.get("content", {}).values():
                    jsonschema.Draft202012Validator.check_schema(media_type["schema"])
                    for example in media_type.get("examples", {}).values():
                        jsonschema.validate(example["value"], resolve(openapi, media_type["schema"]))
                        checked += 1
    assert checked > 30


@pytest.mark.parametrize("path", ANALYSES)
def test_every_error_of_an_analysis_is_documented(openapi: Any, path: str) -> None:
    responses = openapi["paths"][path]["post"]["responses"]
    documented = {
        code
        for status, response in responses.items()
        if status != "200"
        for code in response["content"]["application/json"]["examples"]
    }
    never = {"NOT_FOUND", "MODEL_NOT_FOUND", "METHOD_NOT_ALLOWED", "CONFLICT", "RANGE_NOT_SATISFIABLE"}
    assert documented == {cls.code for cls in all_errors(ServiceError)} - never
    assert "422" not in responses


@pytest.mark.parametrize(
    ("kind", "options"), [("image", ImageOptions), ("video", VideoOptions), ("audio", AudioOptions)]
)
def test_both_content_types_are_documented_with_every_option(openapi: Any, kind: str, options: Any) -> None:
    content = openapi["paths"][f"/api/analyze/{kind}"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    for media_type in content.values():
        assert set(media_type["schema"]["properties"]) == {kind, "options", *options.model_fields}
        assert media_type["examples"]


def test_what_the_layers_around_the_routes_answer_is_documented_on_every_route(openapi: Any) -> None:
    for path in openapi["paths"].values():
        for operation in path.values():
            assert {"400", "403", "500", "503"} <= set(operation["responses"])
            assert operation["responses"]["503"]["headers"]["Retry-After"]["required"] is True


@pytest.mark.parametrize("value", [None, "", "  "])
def test_the_schema_knows_that_null_and_empty_text_mean_not_given(openapi: Any, value: Any) -> None:
    content = openapi["paths"][ANALYSES[0]]["post"]["requestBody"]["content"]["application/json"]
    body = {"image": "aaaa", "max_length": value, "options": {"prompt": value}}
    jsonschema.validate(body, resolve(openapi, content["schema"]))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**body, "max_length": "5"}, resolve(openapi, content["schema"]))


def test_the_schema_requires_what_is_always_there_and_only_that(openapi: Any) -> None:
    schemas = openapi["components"]["schemas"]
    assert set(schemas["ImageAnalysis"]["required"]) == {"success", "type", "description", "metadata", "timestamp"}
    assert set(schemas["ErrorBody"]["required"]) == {"success", "error", "timestamp"}
    assert set(schemas["Frame"]["required"]) == {"frame_number", "description"}
    assert "transcript" not in schemas["VideoAnalysis"]["required"]


def test_answers_match_their_documented_schema(client: TestClient, openapi: Any, png: bytes, png_base64: str) -> None:
    def check(method: str, path: str, response: Any) -> None:
        assert response.status_code == 200
        content = openapi["paths"][path][method]["responses"]["200"]["content"]["application/json"]
        jsonschema.validate(response.json(), resolve(openapi, content["schema"]))

    check("post", ANALYSES[0], client.post(ANALYSES[0], files={"image": png}))
    for timestamps in ("true", "false"):
        options = {"include_audio": "true", "include_timestamps": timestamps}
        check("post", ANALYSES[1], client.post(ANALYSES[1], files={"video": MP4}, data=options))
        options = {"word_level_timestamps": "true", "include_timestamps": timestamps}
        check("post", ANALYSES[2], client.post(ANALYSES[2], files={"audio": WAV}, data=options))
    files = [{"type": "image", "data": png_base64}, {"type": "image", "data": "!"}]
    check("post", ANALYSES[3], client.post(ANALYSES[3], json={"files": files}))
    for path in ("/api/health", "/livez", "/readyz"):
        check("get", path, client.get(path))
