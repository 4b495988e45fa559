"""Formats results for a terminal, in rows: a label, and beside it a text that wraps."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from deployments.commands import FETCH_COMMAND, SERVE_COMMAND
from prism.library.command import describe_place

from .client import Answer, Upload

Row = tuple[str, str]
"""A label and its text."""

LABEL_WIDTH = 16
MIN_WIDTH, MAX_WIDTH = 40, 100
"""Columns in a line: fewer leave no room beside the labels, more are hard to read."""

MINIATURE_NOTE = (
    "These answers come from miniatures ({names}) that know drawn shapes and a few hundred spoken words, and are "
    "sometimes wrong. For the real models:"
)
REAL_COMMANDS = (FETCH_COMMAND, SERVE_COMMAND)


def heading(title: str, width: int) -> str:
    return f"{_printable(title)} ".ljust(_clamp(width), "-")


def format_rows(rows: Iterable[Row], width: int) -> str:
    """Return the rows as lines of at most `width` columns (MIN_WIDTH to MAX_WIDTH), without a final line break.

    Control characters become spaces: in a model's text or a file's name they could be commands to the terminal.
    """
    return "\n".join(_format_row(label, text, _clamp(width)) for label, text in rows)


def upload_rows(upload: Upload) -> list[Row]:
    return [("sent", f"{upload.kind}, {format_size(len(upload.content))}")]


def answer_rows(answer: Answer) -> list[Row]:
    rows = _ROWS.get(answer.body["type"], _plain_rows)(answer.body)
    return [
        *rows,
        ("took", f"{answer.seconds:.2f} s, of which {_processing_ms(answer.body) / 1000:.2f} s were processing"),
        ("model", ", ".join(_models(answer.body))),
    ]


def passage_rows(question: str, result: Mapping[str, Any]) -> list[Row]:
    """Return a question and the passage of a search result that answers it, with its file and place."""
    metadata = result["metadata"]
    place = describe_place(metadata["source_info"])
    return [
        ("question", question),
        ("  found in", f"{metadata['filename']}, {place}" if place else metadata["filename"]),
        ("  passage", " ".join(metadata["text"].split())),
    ]


def failed_frames(body: Mapping[str, Any]) -> int:
    """Return how many frames of a video could not be described; 0 for an image or audio."""
    return sum("error" in frame for frame in body.get("frames", []))


def health_rows(health: Mapping[str, Any]) -> list[Row]:
    system = health["system_info"]
    used, free = system["memory_usage_mb"], system["available_memory_mb"]
    return [
        ("memory", f"{used:.0f} MB used by all of the server's processes; {free:.0f} MB free on its machine"),
        ("status", health["status"]),
        *[("model", _describe_model(model)) for model in health["models"]],
    ]


def miniature_note(health: Mapping[str, Any], width: int) -> str:
    """Return a note that the results come from miniatures, or "" if no model is one."""
    names = [model["name"] for model in health["models"] if model["is_miniature"]]
    if not names:
        return ""
    note = _fill(MINIATURE_NOTE.format(names=" and ".join(names)), _clamp(width))
    return "\n".join([note, *(f"    {command}" for command in REAL_COMMANDS)])


def format_size(num_bytes: int) -> str:
    if num_bytes < 1_000_000:
        return f"{num_bytes / 1_000:.1f} kB"
    if num_bytes < 1_000_000_000:
        return f"{num_bytes / 1_000_000:.1f} MB"
    return f"{num_bytes / 1_000_000_000:.1f} GB"


def format_time(seconds: float) -> str:
    """Return minutes and seconds: `format_time(66.04)` is `1:06.0`."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 // 10:02}.{tenths % 10}"


def _image_rows(body: Mapping[str, Any]) -> list[Row]:
    metadata = body["metadata"]
    cut_off = " [cut off at max_length]" if metadata["finish_reason"] == "length" else ""
    return [("image", _resolution(metadata["image_size"])), ("description", body["description"] + cut_off)]


def _video_rows(body: Mapping[str, Any]) -> list[Row]:
    metadata = body["metadata"]
    facts = (
        f"{_resolution(metadata['resolution'])}, {metadata['duration_seconds']:.1f} s, "
        f"{metadata['fps']:g} frames a second, {metadata['total_frames']} frames"
    )
    frames = [(f"  at {format_time(frame['timestamp'])}", _frame_text(frame)) for frame in body["frames"]]
    transcript = _audio_rows(body["transcript"]) if "transcript" in body else []
    return [("video", facts), *frames, ("summary", body["summary"]), *transcript]


def _frame_text(frame: Mapping[str, Any]) -> str:
    return f"[failed: {frame['error']}]" if "error" in frame else str(frame["description"])


def _audio_rows(body: Mapping[str, Any]) -> list[Row]:
    duration = f"{body['metadata']['duration_seconds']:.1f} s"
    warnings = [("warning", warning) for warning in body["metadata"].get("warnings", [])]
    if not body["segments"]:
        return [("audio", f"{duration}; no speech"), *warnings]
    return [
        ("audio", f"{duration}, language {body['language']!r}, confidence {body['confidence']:.2f}"),
        *[(_span(segment), segment["text"].strip()) for segment in body["segments"]],
        *warnings,
    ]


def _span(segment: Mapping[str, Any]) -> str:
    return f"{format_time(segment['start'])}-{format_time(segment['end'])}"


def _plain_rows(body: Mapping[str, Any]) -> list[Row]:
    """Return the fields of an answer that has no rows of its own."""
    return [(name, str(value)) for name, value in body.items() if name not in ("success", "timestamp", "metadata")]


_ROWS: Mapping[str, Callable[[Mapping[str, Any]], list[Row]]] = {
    "image": _image_rows,
    "video": _video_rows,
    "audio": _audio_rows,
}


def _processing_ms(body: Mapping[str, Any]) -> float:
    """Return the server's own processing time; a video has it at the top level (PRD, F2)."""
    milliseconds: float = (body if body["type"] == "video" else body["metadata"])["processing_time_ms"]
    return milliseconds


def _models(body: Mapping[str, Any]) -> list[str]:
    transcript = [body["transcript"]] if "transcript" in body else []
    return [part["metadata"]["model"] for part in (body, *transcript)]


def _describe_model(model: Mapping[str, Any]) -> str:
    facts = [f"{model['name']}: {model['state'].replace('_', ' ')}"]
    if model["load_seconds"] is not None:
        facts.append(f"took {model['load_seconds']:.1f} s to load")
    if model["weight_bytes"] is not None:
        facts.append(f"{format_size(model['weight_bytes'])} of weights")
    return ", ".join(facts) + (f". {model['detail']}" if model["detail"] else "")


def _resolution(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]} pixels"


def _format_row(label: str, text: str, width: int) -> str:
    lead, indent = label.ljust(LABEL_WIDTH), " " * LABEL_WIDTH
    return _fill(text, width, lead, indent) or lead


def _fill(text: str, width: int, lead: str = "", indent: str = "") -> str:
    text = _printable(text)
    return textwrap.fill(text, width, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _clamp(width: int) -> int:
    return min(max(width, MIN_WIDTH), MAX_WIDTH)
