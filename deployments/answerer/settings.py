"""Settings of the answerer, and the language models that it knows by name."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from deployments.answerer.types import EXTRACTIVE
from deployments.settings import ModelSection

NONE = "none"
"""The value of `model` that stands for no language model."""


@dataclass(frozen=True)
class KnownModel:
    """A GGUF file of the Hugging Face Hub, quantized to 4 bits (Q4_K_M)."""

    repository: str
    commit: str
    file: str
    size: int
    """Bytes."""
    sha256: str
    licence: str


MODELS = {
    "Qwen2.5-0.5B-Instruct": KnownModel(
        repository="Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        commit="9217f5db79a29953eb74d5343926648285ec7e67",
        file="qwen2.5-0.5b-instruct-q4_k_m.gguf",
        size=491_400_032,
        sha256="74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
        licence="Apache-2.0",
    ),
    "Qwen2.5-1.5B-Instruct": KnownModel(
        repository="Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        commit="91cad51170dc346986eccefdc2dd33a9da36ead9",
        file="qwen2.5-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_736,
        sha256="6a1a2eb6d15622bf3c96857206351ba97e1af16c30d7a74ee38970e434e9407e",
        licence="Apache-2.0",
    ),
    "Qwen3-4B-Instruct-2507": KnownModel(
        repository="bartowski/Qwen_Qwen3-4B-Instruct-2507-GGUF",
        commit="ae44f08e1392f39c0e474af10c3ff8355c8b6688",
        file="Qwen_Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        size=2_497_280_736,
        sha256="2fde00ce69dd4899c70d020845e2638353015bba0fdf161b3eb965f2bca4464e",
        licence="Apache-2.0",
    ),
}
"""Not among them: Qwen2.5-3B, whose licence forbids commercial use; Llama and Gemma, which ask for a registration."""


class AnswererConfig(ModelSection):
    official_models: ClassVar[tuple[str, ...]] = tuple(MODELS)

    model: str = "Qwen2.5-1.5B-Instruct"
    """A name of `MODELS`, the path of a .gguf file (relative to the project's folder), or `none`."""
    server_url: str | None = None
    """Of an OpenAI-compatible server on this machine that answers in place of `model`, without `/v1`."""
    server_model: str | None = None
    """The name of the model there; None for the first that the server lists."""
    threads: int = Field(0, ge=0)
    """Threads of the language model; 0 leaves one physical core free."""
    prompt_tokens: int = Field(0, ge=0, le=8192)
    """Tokens of passages in a prompt, at most; 0 derives them from the speed at which the model reads."""
    max_tokens: int = Field(96, ge=16, le=1024)
    """Tokens of an answer, at most."""
    timeout_s: float = Field(45, gt=0)
    """Seconds for an answer, at most; then it ends with what is backed so far, or quotes the passages."""
    show_unsupported: bool = False
    """Whether sentences that no passage backs are shown, with a mark, or left out."""
    idle_unload_s: float = Field(300, ge=0)
    """The model leaves memory when nothing was asked for so long; the next question loads it again."""

    @field_validator("model")
    @classmethod
    def _is_known_or_a_file(cls, model: str) -> str:
        if model != NONE and model not in MODELS and not model.lower().endswith(".gguf"):
            raise ValueError(f"must be one of {', '.join(MODELS)}, the path of a .gguf file, or {NONE}")
        return model

    @field_validator("server_url")
    @classmethod
    def _is_on_this_machine(cls, url: str | None) -> str | None:
        if not url:
            return None
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme != "http" or not _is_loopback(host) or parts.username or parts.query or parts.fragment:
            raise ValueError(
                "must be the http:// URL of a server on this machine, such as http://127.0.0.1:11434: what is in the "
                "library does not leave it"
            )
        return url.rstrip("/").removesuffix("/v1")

    @property
    def name(self) -> str:
        if self.server_url:
            return self.server_model or f"the model at {urlsplit(self.server_url).netloc}"
        if self.model == NONE:
            return EXTRACTIVE
        return self.model if self.is_official else Path(self.model).stem

    @property
    def is_official(self) -> bool:
        return not self.server_url and super().is_official

    @property
    def has_model(self) -> bool:
        """Whether a language model answers at all."""
        return bool(self.server_url) or self.model != NONE


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
