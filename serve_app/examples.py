"""Examples of requests for `/docs`: each is written once, and shown for curl, Python (httpx) and TypeScript.

A test runs them all.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BASE_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Base64:
    """A value in a JSON body: the content of a file as base64."""

    file: str
    before: str = ""
    """What precedes it: the beginning of a data URL."""


@dataclass(frozen=True)
class Example:
    """A request to a route."""

    method: str
    path: str
    """Of the route, as OpenAPI has it."""
    about: str = ""
    """What it shows, if the route has several."""
    at: str = ""
    """The path and query of the request, if they are not those of the route."""
    file: tuple[str, str] | None = None
    """Field and name of the file in a form."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Text fields of a form."""
    json: Any = None
    """A JSON body."""
    streams: bool = False
    """Whether the response is followed event by event."""
    is_endless: bool = False
    """Whether it has no end of itself; the example takes the first part only."""
    is_binary: bool = False
    """Whether the response is neither JSON nor text."""

    @property
    def url(self) -> str:
        return BASE_URL + (self.at or self.path)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Accept": "text/event-stream"} if self.streams and self.path.startswith("/api/") else {}


def _question(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body of a chat."""
    picture = {"url": Base64("picture.jpg", "data:image/jpeg;base64,")}
    content = [{"type": "text", "text": "What shapes are there?"}, {"type": "image_url", "image_url": picture}]
    return {"model": "moondream2", "messages": [{"role": "user", "content": content}], **options}


EXAMPLES: Sequence[Example] = (
    Example(
        "POST",
        "/api/analyze/image",
        "A question about a picture",
        file=("image", "picture.jpg"),
        fields={"prompt": "What shapes are there?"},
    ),
    Example(
        "POST", "/api/analyze/image", "A description as it is written", file=("image", "picture.jpg"), streams=True
    ),
    Example(
        "POST",
        "/api/analyze/video",
        file=("video", "clip.mp4"),
        fields={"num_frames": "3", "include_audio": "true"},
    ),
    Example(
        "POST",
        "/api/analyze/audio",
        file=("audio", "recording.mp3"),
        fields={"word_level_timestamps": "true", "subtitles": "true"},
    ),
    Example(
        "POST",
        "/api/analyze/batch",
        json={
            "files": [
                {"type": "image", "data": Base64("picture.jpg")},
                {"type": "audio", "data": Base64("recording.mp3"), "language": "en"},
            ],
            "options": {"parallel": True},
        },
    ),
    Example("GET", "/v1/models"),
    Example("GET", "/v1/models/{model}", at="/v1/models/whisper-1"),
    Example(
        "POST",
        "/v1/audio/transcriptions",
        "With times",
        file=("file", "recording.mp3"),
        fields={"model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": "word"},
    ),
    Example(
        "POST",
        "/v1/audio/transcriptions",
        "Each segment as soon as it is final",
        file=("file", "recording.mp3"),
        fields={"model": "whisper-1", "stream": "true"},
        streams=True,
    ),
    Example("POST", "/v1/audio/translations", file=("file", "recording.mp3"), fields={"model": "whisper-1"}),
    Example("POST", "/v1/chat/completions", "A question about a picture", json=_question({})),
    Example(
        "POST", "/v1/chat/completions", "The answer as it is written", json=_question({"stream": True}), streams=True
    ),
    Example(
        "POST", "/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": ["A brown dog", "A sleeping animal"]}
    ),
    Example("GET", "/api/health"),
    Example("GET", "/livez"),
    Example("GET", "/readyz"),
    Example("GET", "/"),
    Example("GET", "/health"),
    Example("POST", "/upload", file=("file", "article.pdf"), fields={"path": "articles/article.pdf"}),
    Example("GET", "/files", at="/files?type=document&status=completed&limit=10"),
    Example("GET", "/files/{file_id}", at="/files/1?include_content=true"),
    Example("GET", "/files/{file_id}/content", at="/files/1/content", is_binary=True),
    Example("GET", "/files/{file_id}/pages/{page}.png", at="/files/1/pages/1.png", is_binary=True),
    Example("GET", "/files/{file_id}/text", at="/files/2/text", is_binary=True),
    Example("GET", "/files/{file_id}/frames/{seconds}.jpg", at="/files/3/frames/2.5.jpg", is_binary=True),
    Example("POST", "/files/{file_id}/retry", at="/files/4/retry"),
    Example("POST", "/search", "Answer and passages", json={"query": "When does the garden open?", "limit": 5}),
    Example(
        "POST",
        "/search",
        "Each sentence as soon as it is checked",
        json={"query": "When does the garden open?", "stream": True},
        streams=True,
    ),
    Example("GET", "/events", at="/events?since=0", streams=True, is_endless=True),
    Example("GET", "/search/history", at="/search/history?limit=10"),
    Example("DELETE", "/search/history"),
    Example("GET", "/debug/stats"),
    Example("GET", "/metrics", is_binary=True),
    Example("POST", "/library/verify"),
    Example("POST", "/library/checkpoint"),
    Example("POST", "/library/rebuild"),
    Example("DELETE", "/files/{file_id}", at="/files/1"),
)
"""In an order in which they can be run: file 1 is a PDF, 2 a DOCX, 3 a video, and 4 one that failed."""


MAX_LINE = 100


def describe(method: str, path: str) -> str:
    """Return the examples of a route as Markdown; empty if it has none."""
    parts = []
    for example in EXAMPLES:
        if (example.method, example.path) == (method, path):
            about = f"#### {example.about}\n\n" if example.about else ""
            parts.append(
                f"{about}```bash\n{to_curl(example)}\n```\n\n```python\n{to_python(example)}\n```\n\n"
                f"```typescript\n{to_typescript(example)}\n```"
            )
    return "\n\n".join(parts)


def to_curl(example: Example) -> str:
    words = ["curl"]
    if example.streams:
        words.append("-N")
    if example.method == "DELETE" or (example.method == "POST" and example.file is None and example.json is None):
        words += ["-X", example.method]
    for name, value in example.headers.items():
        words += ["-H", f"{name}: {value}"]
    if example.file is not None:
        words += ["-F", "{}=@{}".format(*example.file)]
    for name, value in example.fields.items():
        words += ["-F", f"{name}={value}"]
    if example.is_binary:
        words += ["-o", "answer"]
    if example.json is None:
        return shlex.join([*words, example.url]) + (" | head -n 1" if example.is_endless else "")
    words += ["-H", "Content-Type: application/json", "-d"]
    files = _files_in(example.json)
    body = json.dumps(example.json, default=lambda file: f"{file.before}%s")
    if not files:
        return shlex.join([*words, body, example.url])
    contents = " ".join(f'"$(base64 -w0 {shlex.quote(file)})"' for file in files)
    return f"printf {shlex.quote(body)} \\\n    {contents} |\n    {shlex.join([*words, '@-', example.url])}"


def to_python(example: Example) -> str:
    keywords: dict[str, str] = {}
    if example.file is not None:
        keywords["files"] = f"{{{json.dumps(example.file[0])}: file}}"
    if example.fields:
        keywords["data"] = _python(example.fields)
    if example.json is not None:
        keywords["json"] = _python(example.json)
    if example.headers:
        keywords["headers"] = _python(example.headers)
    if example.method == "POST":
        keywords["timeout"] = "None"
    arguments = [json.dumps(example.url), *(f"{name}={value}" for name, value in keywords.items())]
    if example.streams:
        call = _call("httpx.stream", [json.dumps(example.method), *arguments])
        lines = [f"with {call} as response:", "    for line in response.iter_lines():", "        print(line)"]
        if example.is_endless:
            lines.append("        break  # or go on")
    else:
        show = "len(response.content)" if example.is_binary else "response.json()"
        lines = [
            f"response = {_call(f'httpx.{example.method.lower()}', arguments)}",
            "response.raise_for_status()",
            f"print({show})",
        ]
    if example.file is not None:
        lines = [f'with open("{example.file[1]}", "rb") as file:', *(_indented(line, 4) for line in lines)]
    imports = ["import base64", "from pathlib import Path", ""] if _files_in(example.json) else []
    return "\n".join([*imports, "import httpx", "", *lines])


def to_typescript(example: Example) -> str:
    """Return a module. Each file is a `File` with its name, such as `<input type="file">` gives."""
    lines = []
    options = [f"method: '{example.method}'"] if example.method != "GET" else []
    headers = dict(example.headers)
    if example.json is not None:
        headers["Content-Type"] = "application/json"
    if headers:
        options.append(f"headers: {_typescript(headers)}")
    if _files_in(example.json):
        lines += [
            "async function base64(file: File): Promise<string> {",
            "  let text = '';",
            "  for (const byte of new Uint8Array(await file.arrayBuffer())) text += String.fromCharCode(byte);",
            "  return btoa(text);",
            "}",
        ]
    if example.json is not None:
        options.append(f"body: JSON.stringify({_typescript(example.json)})")
    if example.file is not None:
        name, file = example.file
        lines += ["const form = new FormData();", f"form.append('{name}', {variable(file)});"]
        lines += [f"form.append('{field_name}', '{value}');" for field_name, value in example.fields.items()]
        options.append("body: form")
    block = "".join(f"  {_indented(option, 2, first='')},\n" for option in options)
    lines += [
        f"const response = await fetch('{example.url}'" + (f", {{\n{block}}});" if options else ");"),
        "if (!response.ok) throw new Error((await response.json()).error.message);",
    ]
    if example.streams:
        lines += [
            "const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();",
            "for (let part = await reader.read(); !part.done; part = await reader.read()) {",
            "  console.log(part.value);",
            *(["  await reader.cancel(); // or go on"] if example.is_endless else []),
            "}",
        ]
    elif example.is_binary:
        lines.append("console.log((await response.blob()).size);")
    else:
        lines.append("console.log(await response.json());")
    return "\n".join(lines)


def variable(file: str) -> str:
    """Return the name of the variable that holds a file in TypeScript: its name without the extension."""
    return file.partition(".")[0]


def _files_in(value: Any) -> list[str]:
    if isinstance(value, Base64):
        return [value.file]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [file for item in items for file in _files_in(item)]


def _python(value: Any) -> str:
    if isinstance(value, Base64):
        before = f"{json.dumps(value.before)} + " if value.before else ""
        return f'{before}base64.b64encode(Path("{value.file}").read_bytes()).decode()'
    if isinstance(value, Mapping):
        return _layout("{}", [f"{json.dumps(name)}: {_python(item)}" for name, item in value.items()], 4)
    if isinstance(value, list):
        return _layout("[]", [_python(item) for item in value], 4)
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _typescript(value: Any) -> str:
    if isinstance(value, Base64):
        before = f"'{value.before}' + " if value.before else ""
        return f"{before}await base64({variable(value.file)})"
    if isinstance(value, Mapping):
        names = [name if name.isidentifier() else f"'{name}'" for name in value]
        items = [f"{name}: {_typescript(item)}" for name, item in zip(names, value.values(), strict=True)]
        return _layout("{}", items, 2, space=" ")
    if isinstance(value, list):
        return _layout("[]", [_typescript(item) for item in value], 2)
    return "'" + value.replace("'", "\\'") + "'" if isinstance(value, str) else json.dumps(value)


def _layout(brackets: str, items: Sequence[str], indent: int, space: str = "") -> str:
    """Return items between brackets, on one line if that is short enough."""
    first, last = brackets[0], brackets[1]
    line = f"{first}{space}{', '.join(items)}{space}{last}"
    if len(line) <= MAX_LINE - 20 and "\n" not in line:
        return line
    return first + "\n" + "".join(f"{_indented(item, indent)},\n" for item in items) + last


def _call(function: str, arguments: Sequence[str]) -> str:
    return function + _layout("()", arguments, 4)


def _indented(text: str, indent: int, first: str | None = None) -> str:
    """Return lines with more space before each; before the first, `first` if it is given."""
    space = " " * indent
    return (space if first is None else first) + text.replace("\n", f"\n{space}")
