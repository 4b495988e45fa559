"""A language model in a GGUF file, run by llama.cpp in this process (package xllamacpp).

llama.cpp's server code does the work. Replies come from direct calls. Text is turned into tokens over a Unix socket, in
a folder that only this user can open, with a random key. No port is opened.
"""

import os
import queue
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import xllamacpp

from deployments.answerer.language_model import POLL_S, SEED, WARM_UP
from deployments.cancellation import Cancellation
from deployments.errors import ModelNotLoaded, ProcessingFailed

BATCH_TOKENS = 64
"""Tokens of a prompt that are computed at once: between two batches the work can be stopped. Larger batches were no
faster on a laptop's CPU."""
MIN_MEASURED_TOKENS = 64
"""The speed of reading is measured at prompts with at least so many tokens that were not cached."""
_SOCKET_NAME = "llama.sock"
_MAX_SOCKET_PATH_BYTES = 103
"""unix(7): 107 without the final 0; macOS allows 103."""
_SOCKET_TIMEOUT_S = 30.0


class LlamaModel:
    """Implements LanguageModel. One reply at a time; another one waits.

    Replies are deterministic: the most probable token is taken, and a prompt is computed in the same batches whether or
    not its beginning is cached. (Batches of other sizes round differently.)
    """

    def __init__(self, path: Path, name: str, *, threads: int, context_tokens: int) -> None:
        """Map the file into memory and measure the speed of reading; raises ModelNotLoaded.

        llama.cpp's threads get the priority of the calling thread.
        """
        # Without it, OpenMP's threads spin while they wait for each other, and take the cores from everything else.
        # OpenMP reads it when it is loaded, with the first model.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self.name = name
        folder = _socket_folder()
        remove_folder = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        socket = f"{folder}/{_SOCKET_NAME}"
        key = secrets.token_urlsafe()
        try:
            self._server = xllamacpp.Server(_parameters(path, threads, context_tokens, socket, key))
        except RuntimeError as error:
            remove_folder()
            raise ModelNotLoaded(
                f"{path} cannot be loaded as a GGUF model: it is damaged, of an architecture that llama.cpp does not "
                "know, or larger than the free memory. The lines above in the log say more."
            ) from error
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=socket),
            base_url="http://llama",
            headers={"Authorization": f"Bearer {key}"},
            timeout=_SOCKET_TIMEOUT_S,
            trust_env=False,
        )
        self._disconnect = weakref.finalize(self, self._client.close)
        self._remove_folder = remove_folder
        self._lock = threading.Lock()
        self._reply: _Reply | None = None
        self._last_prompt: Sequence[int] = ()
        """Tokens whose beginning is in llama.cpp's cache."""
        self._prompt_tokens_per_s = 0.0
        try:
            self._warm_up()
        except ProcessingFailed as error:
            self.close()
            raise ModelNotLoaded(f"{path} was loaded, but does not work: {error}") from error

    @property
    def prompt_tokens_per_s(self) -> float:
        """Measured at the latest prompt with MIN_MEASURED_TOKENS new tokens."""
        return self._prompt_tokens_per_s

    def count_tokens(self, text: str) -> int:
        return len(self._tokens(text))

    def complete(
        self, system: str, prompt: str, max_tokens: int, cancellation: Cancellation
    ) -> Generator[str, None, None]:
        """Yield the text of the reply piece by piece.

        When it is cancelled or late, this raises what `cancellation.check` raises at once; the computation stops within
        a token, or before the next batch of the prompt. Closing the iterator has the same effect. Raises
        ProcessingFailed if llama.cpp refuses the prompt, such as one that exceeds the context.
        """
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        while not self._lock.acquire(timeout=POLL_S):
            cancellation.check("the language model was busy")
        try:
            self._wait_for_last_reply(cancellation)
            tokens = self._prompt(messages)
            self._align_cache(tokens, cancellation)
            self._last_prompt = tokens
            self._reply = _Reply(self._server, {"prompt": tokens, "max_tokens": max_tokens})
            yield from self._reply.pieces(cancellation)
            self._measure(self._reply)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Free the memory; nothing may be called afterwards."""
        if self._reply is not None:
            self._reply.stop()
            self._reply.join()
        self._disconnect()
        del self._server
        self._remove_folder()

    def _warm_up(self) -> None:
        self._reply = _Reply(self._server, {"prompt": self._tokens(WARM_UP), "max_tokens": 1})
        for _ in self._reply.pieces(Cancellation(float("inf"))):
            pass
        self._measure(self._reply)

    def _wait_for_last_reply(self, cancellation: Cancellation) -> None:
        while self._reply is not None and not self._reply.join(POLL_S):
            cancellation.check("the language model was busy")

    def _prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """Return the tokens of a conversation in the form that the model was trained on."""
        body = {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
        return self._tokens(self._post("/apply-template", body)["prompt"], with_special=True)

    def _tokens(self, text: str, *, with_special: bool = False) -> list[int]:
        body = {"content": text, "add_special": with_special, "parse_special": with_special}
        tokens: list[int] = self._post("/tokenize", body)["tokens"]
        return tokens

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = self._client.post(path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise ProcessingFailed(f"llama.cpp does not answer {path}: {error!r}.") from error
        answer: dict[str, Any] = response.json()
        return answer

    def _align_cache(self, tokens: list[int], cancellation: Cancellation) -> None:
        """Make llama.cpp reuse only whole batches of the last prompt, so that all other batches are as without a
        cache."""
        shared = _common_prefix(self._last_prompt, tokens[:-1])
        aligned = shared - shared % BATCH_TOKENS
        if aligned == shared:
            return
        # After a prompt with just `aligned` tokens in common, the others are no longer cached. It costs one token.
        other = next(token for token in (tokens[0], tokens[1]) if token != tokens[aligned])
        self._last_prompt = [*tokens[:aligned], other]
        self._reply = _Reply(self._server, {"prompt": self._last_prompt, "max_tokens": 1})
        for _ in self._reply.pieces(cancellation):
            pass

    def _measure(self, reply: "_Reply") -> None:
        if reply.timings.get("prompt_n", 0) >= MIN_MEASURED_TOKENS:
            self._prompt_tokens_per_s = float(reply.timings["prompt_per_second"])


class _Reply:
    """One run of llama.cpp, in a thread that waits for it."""

    def __init__(self, server: Any, request: dict[str, Any]) -> None:
        self.timings: dict[str, float] = {}
        """llama.cpp's own figures, once the reply is complete."""
        self._pieces: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(server, request), name="llama.cpp", daemon=True)
        self._thread.start()

    def pieces(self, cancellation: Cancellation) -> Iterator[str]:
        try:
            while True:
                cancellation.check("the language model was still reading or writing")
                try:
                    piece = self._pieces.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if piece is None:
                    return
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.stop()

    def stop(self) -> None:
        self._is_stopped.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until llama.cpp has stopped; returns whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, server: Any, request: dict[str, Any]) -> None:
        options = {"temperature": 0, "top_k": 1, "seed": SEED, "cache_prompt": True, "stream": True}
        try:
            server.handle_completions({**request, **options, "return_progress": True}, self._receive)
        except Exception as error:  # of any class: the thread that waits for the reply raises it
            self._pieces.put(ProcessingFailed(f"llama.cpp failed: {error}"))
        else:
            self._pieces.put(None)

    def _receive(self, chunk: dict[str, Any]) -> bool:
        """Take a piece of the reply or the progress of the prompt; returns whether to stop."""
        if "error" in chunk:
            self._pieces.put(ProcessingFailed(f"llama.cpp failed: {chunk['error'].get('message')}."))
            return True
        self.timings = chunk.get("timings") or self.timings
        for choice in chunk.get("choices", ()):
            if choice.get("text"):
                self._pieces.put(choice["text"])
        return self._is_stopped.is_set()


def _parameters(path: Path, threads: int, context_tokens: int, socket: str, key: str) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.offline = True
    parameters.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_MMAP
    # Otherwise it keeps most weights a second time, in another layout: 0.7 GB for 1.5 billion parameters. Measured in
    # CPU time, reading is 8 % slower with it and writing 18 % faster, which is the same for an answer.
    parameters.no_extra_bufts = True
    parameters.n_ctx = context_tokens
    parameters.n_parallel = 1
    parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
    # Only the last prompt stays cached, not those before it.
    parameters.cache_ram_mib = 0
    # Otherwise it lowers the context to what fits into memory, without saying so.
    parameters.fit_params = False
    parameters.warmup = False
    for cpu in (parameters.cpuparams, parameters.cpuparams_batch):
        cpu.n_threads = threads
        cpu.poll = 0  # do not spin
    parameters.hostnames = [socket]
    parameters.api_keys = [key]
    parameters.n_threads_http = 1
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.verbosity = 1  # errors only: a log must not have a prompt
    return parameters


def _socket_folder() -> str:
    """Make a folder that only this user can open, with a path short enough for a socket in it."""
    folder = tempfile.mkdtemp(prefix="prism-llama-")
    if len(os.fsencode(f"{folder}/{_SOCKET_NAME}")) <= _MAX_SOCKET_PATH_BYTES:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="prism-llama-", dir="/tmp")


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return with how many equal tokens both begin."""
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return number
    return min(len(first), len(second))
