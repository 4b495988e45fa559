"""Listing the files of a repository on the Hugging Face Hub, or on a mirror that HF_ENDPOINT names."""

import os
from fnmatch import fnmatch
from typing import Any

from deployments.weights.download import DownloadFailed, RemoteFile, get_json

DEFAULT_HUB = "https://huggingface.co"


def list_hub_files(
    repository: str, revision: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[RemoteFile]:
    """Return the files in a repository's top folder whose names match one of the patterns, such as `*.safetensors`.

    All are from the commit that the revision (a tag, branch or commit) points to. Raises DownloadFailed, also if a
    required pattern has no match.
    """
    hub = _hub()
    url = f"{hub}/api/models/{repository}/revision/{revision}?blobs=true"
    listing = get_json(url)
    patterns = (*required, *optional)
    try:
        commit: str = listing["sha"]
        files = [
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
    for pattern in required:
        if not any(fnmatch(file.name, pattern) for file in files):
            raise DownloadFailed(f"The hub lists no {pattern} for {repository} at revision {revision}.")
    return files


def pinned_hub_file(repository: str, commit: str, name: str, size: int, sha256: str) -> RemoteFile:
    """Return a file of a commit whose size in bytes and SHA-256 are known; makes no request."""
    return RemoteFile(
        name=name,
        url=f"{_hub()}/{repository}/resolve/{commit}/{name}",
        origin=f"{repository}@{commit}",
        size=size,
        checksum=f"sha256:{sha256}",
    )


def _hub() -> str:
    return os.environ.get("HF_ENDPOINT", DEFAULT_HUB).rstrip("/")


def _checksum(entry: dict[str, Any]) -> str:
    """Return the checksum of a file: SHA-256 for git-lfs files (the large ones), else git's object id."""
    large_file = entry.get("lfs")
    return f"sha256:{large_file['sha256']}" if large_file else f"git:{entry['blobId']}"
