"""Reads subtitles with libav."""

import io
from collections.abc import Iterator

import av


def read_cues(content: str) -> Iterator[tuple[float, float, str]]:
    """Yield start and end in seconds and the text of each cue of an SRT or WebVTT file."""
    file_format = "webvtt" if content.startswith("WEBVTT") else "srt"
    with av.open(io.BytesIO(content.encode()), format=file_format) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.duration is not None and packet.time_base is not None:
                start_s = float(packet.pts * packet.time_base)
                text = bytes(packet).decode().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
                yield start_s, start_s + float(packet.duration * packet.time_base), text
