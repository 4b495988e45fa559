"""The pipeline of recordings, and the speech of videos: chunks so short that each leads to the second."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from deployments.indexing.chunking import Chunker
from deployments.indexing.pieces import Break, Piece
from deployments.indexing.reading import Reading, as_stream
from deployments.library.types import NewChunk, SourceInfo
from deployments.transcriber.types import TranscribeTask, Transcript, TranscriptSegment, TranscriptWord

MAX_TOKENS = 24
"""About eight seconds. A longer sentence is cut at a clause, so that a hit leads to the right second, not to the start
of a long sentence."""
ENOUGH_TOKENS = 8
"""A sentence of so many word pieces is a chunk of its own; a shorter one is joined to the next."""
SILENCE_S = 2.0
"""A chunk ends where nobody speaks for longer."""
PAUSE_S = 0.4
"""A chunk may end at a comma if the speaker pauses there for longer."""

_CLAUSE_ENDS = (",", ";", ":", "—", "、", "，")


async def read_recording(reading: Reading) -> AsyncGenerator[NewChunk, None]:
    """Yield the chunks of what is said in a recording; raises InvalidFile if it cannot be decoded."""
    await reading.report("transcribing", 0.0, "")
    transcript = await reading.services.transcribe(reading.media, TranscribeTask(word_timestamps=True))
    reading.remarks.extend(transcript.warnings)
    await reading.report("embedding", 0.9, "")
    async for chunk in speech_chunks(reading, transcript, {"type": "audio"}):
        yield chunk


def speech_chunks(reading: Reading, transcript: Transcript, common: SourceInfo) -> AsyncIterator[NewChunk]:
    """Yield the chunks of a transcript, each with its `start` and `end`."""
    chunker = Chunker(
        min(MAX_TOKENS, reading.config.chunk_tokens), reading.services.count_tokens, enough_tokens=ENOUGH_TOKENS
    )
    return chunker.chunks(as_stream(list(_word_pieces(transcript, common))))


def _word_pieces(transcript: Transcript, common: SourceInfo) -> Iterator[Piece]:
    before: TranscriptWord | None = None
    for segment in transcript.segments:
        for word in segment.words or [_as_word(segment)]:
            pause_s = word.start_s - before.end_s if before else 0.0
            ends_clause = before is not None and before.word.rstrip().endswith(_CLAUSE_ENDS)
            yield Piece(
                word.word,
                {"start": round(float(word.start_s), 2), "end": round(float(word.end_s), 2)},
                common,
                separator=" " if word.word[:1].isspace() else "",
                break_before=_break(pause_s, ends_clause),
                is_border=pause_s > SILENCE_S,
            )
            before = word


def _break(pause_s: float, ends_clause: bool) -> Break:
    if pause_s <= PAUSE_S:
        return Break.NONE
    return Break.SENTENCE if ends_clause else Break.CLAUSE


def _as_word(segment: TranscriptSegment) -> TranscriptWord:
    """Stand for a segment whose words have no times."""
    return TranscriptWord(f" {segment.text.strip()}", segment.start_s, segment.end_s, segment.confidence)
