"""OpenAI's client for Node and the Vercel AI SDK on a running server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.contents import SENTENCE
from tests.e2e.client import DATA
from tests.e2e.test_readme import NODE, snippet

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SCRIPTS = Path(__file__).parents[1] / "clients" / "node"


@pytest.fixture(scope="session")
def node_modules() -> None:
    """The pinned packages, from the npm registry."""
    npm = NODE.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"  # its program in bin/ lost its way in the wheel
    command = [NODE, npm, "ci", "--no-fund", "--no-audit", "--ignore-scripts"]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run(*arguments: str | Path) -> Any:
    """Run Node with these arguments; returns what it wrote as JSON."""
    command = [NODE, *arguments]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.usefixtures("node_modules")
def test_the_openai_package(url: str) -> None:
    got = run("openai.mjs", url, DATA)
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
    got = run("ai-sdk.mjs", url, DATA)
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


@pytest.mark.usefixtures("node_modules")
def test_the_snippet_of_the_readme_gets_an_answer(url: str) -> None:
    imports, code = snippet("typescript", url, "createOpenAICompatible").split("\n\n", 1)
    script = f"""
        import {{ readFileSync }} from 'node:fs';
        {imports}
        const image = readFileSync('{DATA}/picture.jpg');
        {code}
        console.log(JSON.stringify(text));
    """
    assert run("--input-type=module-typescript", "-e", script)
