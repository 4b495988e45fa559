"""A language model behind the HTTP API of OpenAI, on this machine: ollama, llama-server, LM Studio and others."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import PurePath
from typing import Any

import httpx

from deployments.answerer.language_model import POLL_S, SEED, WARM_UP
from deployments.cancellation import Cancellation
from deployments.errors import ModelNotLoaded

_CONNECT_TIMEOUT_S = 3.0
_WARM_UP_TIMEOUT_S = 120.0
"""A server may load its model at the first request."""


class OpenAIServerModel:
    """Implements LanguageModel. How many replies are made at once is up to the server."""

    def __init__(self, url: str, model: str | None) -> None:
        """Connect, and measure how fast the model reads; `model` is None for the first one that the server lists.

        `url` is without `/v1`. Raises ModelNotLoaded if the server cannot be reached, or refuses.
        """
        self._url = url
        with _client(url, _WARM_UP_TIMEOUT_S) as client:
            self._model = model or _first_model(client, url)
            # llama-server names a model by its path unless it was told otherwise.
            self.name = PurePath(self._model).name if PurePath(self._model).is_absolute() else self._model
            start = time.monotonic()
            # Different each time, so that the server has nothing of it in a cache.
            text = f"{secrets.token_hex(8)}. {WARM_UP}"
            body = _answer(client, url, "/v1/chat/completions", self._request("", text, 1, stream=False))
            seconds = time.monotonic() - start
        num_tokens = (body.get("usage") or {}).get("prompt_tokens") or 0
        if num_tokens < 1:
            raise ModelNotLoaded(f"{url} does not say how many tokens a prompt has (`usage`), so it cannot be used.")
        self._characters_per_token = len(text) / num_tokens
        self._prompt_tokens_per_s = num_tokens / seconds

    @property
    def prompt_tokens_per_s(self) -> float:
        """Measured once, when this was made: with the time of HTTP and of one written token."""
        return self._prompt_tokens_per_s

    def count_tokens(self, text: str) -> int:
        """Return an estimate from the characters per token of the warm-up: the API cannot count tokens."""
        return round(len(text) / self._characters_per_token) if text else 0

    def complete(
        self, system: str, prompt: str, max_tokens: int, cancellation: Cancellation
    ) -> Generator[str, None, None]:
        """Yield the text of the reply piece by piece.

        When it is cancelled or late, this raises what `cancellation.check` raises at once, and closes the connection,
        which stops the server's work. Raises ModelNotLoaded if the server cannot be reached, or fails.
        """
        loop = asyncio.new_event_loop()
        pieces = self._pieces(self._request(system, prompt, max_tokens, stream=True))
        try:
            while True:
                piece = loop.create_task(_next(pieces))
                try:
                    while not piece.done():
                        cancellation.check("the language model was still reading or writing")
                        loop.run_until_complete(asyncio.wait({piece}, timeout=POLL_S))
                finally:
                    if piece.cancel():
                        loop.run_until_complete(asyncio.wait({piece}))
                text = piece.result()
                if text is None:
                    return
                yield text
        except httpx.HTTPError as error:
            raise ModelNotLoaded(_unreachable(self._url, error)) from error
        finally:
            loop.run_until_complete(pieces.aclose())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _request(self, system: str, prompt: str, max_tokens: int, *, stream: bool) -> dict[str, Any]:
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})
        options = {"max_tokens": max_tokens, "temperature": 0, "seed": SEED, "stream": stream}
        return {"model": self._model, "messages": messages, **options}

    async def _pieces(self, request: dict[str, Any]) -> AsyncGenerator[str, None]:
        async with (
            httpx.AsyncClient(base_url=self._url, timeout=_timeout(None), trust_env=False) as client,
            client.stream("POST", "/v1/chat/completions", json=request) as response,
        ):
            if response.status_code != 200:
                await response.aread()
                raise ModelNotLoaded(_refusal(self._url, response))
            async for line in response.aiter_lines():
                event = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if event == "[DONE]":
                    return
                if event and (text := _text_of(event, self._url)):
                    yield text
            raise ModelNotLoaded(f"The reply of {self._url} broke off.")


async def _next(pieces: AsyncGenerator[str, None]) -> str | None:
    """Return the next piece; None after the last one."""
    return await anext(pieces, None)


def _text_of(event: str, url: str) -> str:
    """Return the text that an event of the stream adds to the reply; raises ModelNotLoaded for an error."""
    try:
        body = json.loads(event)
        if "error" in body:
            raise ModelNotLoaded(f"{url} failed while it answered: {_message_of(body)}.")
        choices = body.get("choices") or [{}]
        return (choices[0].get("delta") or {}).get("content") or ""
    except (ValueError, AttributeError, TypeError, LookupError) as error:
        raise ModelNotLoaded(f"{url} sends a stream that is not that of an OpenAI-compatible server.") from error


def _first_model(client: httpx.Client, url: str) -> str:
    models = _answer(client, url, "/v1/models").get("data") or []
    if not models or not isinstance(models[0], dict) or not isinstance(models[0].get("id"), str):
        raise ModelNotLoaded(f"{url} lists no model. Load one there, or name it in answerer.server_model.")
    name: str = models[0]["id"]
    return name


def _answer(client: httpx.Client, url: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        response = client.get(path) if body is None else client.post(path, json=body)
    except httpx.HTTPError as error:
        raise ModelNotLoaded(_unreachable(url, error)) from error
    if response.status_code != 200:
        raise ModelNotLoaded(_refusal(url, response))
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ModelNotLoaded(f"{url}{path} does not answer as an OpenAI-compatible server does.")
    return answer


def _client(url: str, timeout_s: float) -> httpx.Client:
    # No proxy of the environment, and no redirect, may lead away from this machine.
    return httpx.Client(base_url=url, timeout=_timeout(timeout_s), trust_env=False, follow_redirects=False)


def _timeout(read_s: float | None) -> httpx.Timeout:
    return httpx.Timeout(read_s, connect=_CONNECT_TIMEOUT_S)


def _unreachable(url: str, error: httpx.HTTPError) -> str:
    reason = "it did not answer in time" if isinstance(error, httpx.TimeoutException) else "the connection failed"
    return f"The language model's server {url} cannot be used: {reason}. Start it, or change answerer.server_url."


def _refusal(url: str, response: httpx.Response) -> str:
    try:
        reason = _message_of(response.json())
    except ValueError:
        reason = response.reason_phrase
    return f"The language model's server {url} refused the request with status {response.status_code}: {reason}."


def _message_of(body: Any) -> str:
    """Return the message of an error, which servers put at different places."""
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)[:200].rstrip(".")
