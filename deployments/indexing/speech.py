"""The pipeline of recordings, and the speech of videos: chunks so short that each leads to the second."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

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

LONG_SENTENCE_S = 8.0
MIN_CLAUSE_S = 2.0
"""A sentence that takes longer, because the speaker is slow, is cut at commas into parts of at least MIN_CLAUSE_S. The
times of words do not always show its pauses."""

_CLAUSE_ENDS = (",", ";", ":", "—", "、", "，")
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")


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
    words = [word for segment in transcript.segments for word in segment.words or [_as_word(segment)]]
    for sentence, before_sentence in _sentences(words):
        starts = _clause_starts(sentence)
        before = before_sentence
        for index, word in enumerate(sentence):
            pause_s = word.start_s - before.end_s if before else 0.0
            yield Piece(
                word.word,
                {"start": round(float(word.start_s), 2), "end": round(float(word.end_s), 2)},
                common,
                separator=" " if word.word[:1].isspace() else "",
                break_before=Break.SENTENCE if index in starts else _break(pause_s, before),
                is_border=pause_s > SILENCE_S,
            )
            before = word


def _sentences(
    words: Sequence[TranscriptWord],
) -> Iterator[tuple[Sequence[TranscriptWord], TranscriptWord | None]]:
    """Yield the words of each sentence, with the word before it."""
    start = 0
    for end, word in enumerate(words, 1):
        if end == len(words) or word.word.rstrip().endswith(_SENTENCE_ENDS):
            yield words[start:end], words[start - 1] if start else None
            start = end


def _clause_starts(sentence: Sequence[TranscriptWord]) -> set[int]:
    """Return at which words a sentence that takes long is cut: after commas, into parts of some seconds."""
    end_s, part_start_s = sentence[-1].end_s, sentence[0].start_s
    if end_s - part_start_s <= LONG_SENTENCE_S:
        return set()
    starts = set()
    for index in range(1, len(sentence)):
        start_s = sentence[index].start_s
        if _ends_clause(sentence[index - 1]) and min(start_s - part_start_s, end_s - start_s) >= MIN_CLAUSE_S:
            starts.add(index)
            part_start_s = start_s
    return starts


def _break(pause_s: float, before: TranscriptWord | None) -> Break:
    if pause_s <= PAUSE_S:
        return Break.NONE
    return Break.SENTENCE if before is not None and _ends_clause(before) else Break.CLAUSE


def _ends_clause(word: TranscriptWord) -> bool:
    return word.word.rstrip().endswith(_CLAUSE_ENDS)


def _as_word(segment: TranscriptSegment) -> TranscriptWord:
    """Stand for a segment whose words have no times."""
    return TranscriptWord(f" {segment.text.strip()}", segment.start_s, segment.end_s, segment.confidence)
