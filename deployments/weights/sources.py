"""What the known checkpoints consist of, and where their files come from."""

import os
from fnmatch import fnmatch
from typing import Any

from deployments.weights.download import DownloadFailed, RemoteFile, content_length, get_json

MOONDREAM_REPOSITORY = "vikhyatk/moondream2"
MOONDREAM_REVISION = "2025-06-21"
TOKENIZER_REPOSITORY = "moondream/starmie-v1"
TOKENIZER_REVISION = "35192e10a54e36eabe0a7cc57a2c1aab371cafc5"


def moondream_files() -> list[RemoteFile]:
    """Return moondream2's config.json, its safetensors and the tokenizer it was trained with; asks the hub.

    Its own repository holds the tokenizer of an older release, whose ids mean other words, and Python code, which is
    not wanted. Raises DownloadFailed.
    """
    wanted = ("config.json", "*.safetensors", "*.safetensors.index.json")
    files = _hub_files(MOONDREAM_REPOSITORY, MOONDREAM_REVISION, wanted)
    files += _hub_files(TOKENIZER_REPOSITORY, TOKENIZER_REVISION, ("tokenizer.json",))
    for pattern in ("config.json", "*.safetensors", "tokenizer.json"):
        if not any(fnmatch(file.name, pattern) for file in files):
            raise DownloadFailed(f"The hub lists no {pattern} for {MOONDREAM_REPOSITORY} or {TOKENIZER_REPOSITORY}.")
    return files


def whisper_files(size: str) -> list[RemoteFile]:
    """Return the one file of a Whisper size, with openai-whisper's own URL and SHA-256; asks for its length.

    Raises DownloadFailed. Importing whisper takes seconds (torch), so it happens here and not before.
    """
    import whisper

    url: str = whisper._MODELS[size]
    sha256 = url.split("/")[-2]
    return [RemoteFile(f"{size}.pt", url, f"openai-whisper@{sha256}", content_length(url), f"sha256:{sha256}")]


def _hub_files(repository: str, revision: str, patterns: tuple[str, ...]) -> list[RemoteFile]:
    """Return the files at the top of a hub repository whose names match, all of the commit the revision stands for."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{hub}/api/models/{repository}/revision/{revision}?blobs=true"
    listing = get_json(url)
    try:
        commit: str = listing["sha"]
        return [
            RemoteFile(
                name=entry["rfilename"],
                url=f"{hub}/{repository}/resolve/{commit}/{entry['rfilename']}",
                origin=f"{repository}@{commit}",
                size=int(entry["size"]),
                checksum=_checksum(entry),
            )
            for entry in listing["siblings"]
            if "/" not in entry["rfilename"] and any(fnmatch(entry["rfilename"], pattern) for pattern in patterns)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DownloadFailed(f"{url} does not answer as a model hub does.") from error


def _checksum(entry: dict[str, Any]) -> str:
    """Large files carry a SHA-256; small ones are plain git objects and carry only git's id."""
    large = entry.get("lfs")
    return f"sha256:{large['sha256']}" if large else f"git:{entry['blobId']}"
