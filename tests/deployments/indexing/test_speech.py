from dataclasses import replace

import pytest

from deployments.errors import FileTooLarge
from deployments.indexing import services
from deployments.transcriber.types import TranscriptSegment
from tests.deployments.indexing.fakes import FakeServices, fail, index, sources, spoken, texts


def test_each_sentence_leads_to_the_second_in_which_it_begins() -> None:
    segments = [
        spoken("The first sentence has more than a few words.", 700.0),
        spoken("So does the second one, which begins right after it.", 702.7),
    ]
    chunks = index("audio", "mp3", FakeServices(segments=segments))
    assert texts(chunks) == [segment.text for segment in segments]
    assert sources(chunks) == [
        {"type": "audio", "start": 700.0, "end": 702.7, "timestamp": "700.00s"},
        {"type": "audio", "start": 702.7, "end": 705.7, "timestamp": "702.70s"},
    ]
    assert chunks[0].parts[1].place == {"start": 700.3, "end": 700.6}
    assert chunks[0].text[chunks[0].parts[1].start : chunks[0].parts[1].end] == "first"


def test_a_chunk_ends_at_a_silence() -> None:
    chunks = index("audio", "mp3", FakeServices(segments=[spoken("Wait.", 0.0), spoken("Go on now.", 3.0)]))
    assert texts(chunks) == ["Wait.", "Go on now."]


def test_short_sentences_without_a_silence_stay_together() -> None:
    segments = [spoken("Yes.", 0.0), spoken("I think that this is right, is it not?", 0.3)]
    assert texts(index("audio", "mp3", FakeServices(segments=segments))) == [
        "Yes. I think that this is right, is it not?"
    ]


def test_a_long_sentence_leads_to_the_clause_where_the_speaker_pauses() -> None:
    segments = [
        spoken("And so, my fellow Americans, ask not what your country can do for you,", 0.0),
        spoken("ask what you can do for your country.", 8.0),
    ]
    chunks = index("audio", "flac", FakeServices(segments=segments))
    assert texts(chunks)[-1] == "ask what you can do for your country."
    assert chunks[-1].source_info["start"] == 8.0


def test_a_sentence_that_takes_long_is_cut_at_a_comma_without_a_pause() -> None:
    quick = spoken("He came back to the house in the evening, and nobody was at home when he came in.", 0.0)
    assert len(index("audio", "flac", FakeServices(segments=[quick]))) == 1
    words = [replace(word, start_s=2 * word.start_s, end_s=2 * word.end_s) for word in quick.words]
    chunks = index("audio", "flac", FakeServices(segments=[replace(quick, words=words, end_s=2 * quick.end_s)]))
    assert texts(chunks) == ["He came back to the house in the evening,", "and nobody was at home when he came in."]
    assert [chunk.source_info["start"] for chunk in chunks] == pytest.approx([0.0, 5.4])


def test_a_segment_without_word_times_has_its_own() -> None:
    chunks = index("audio", "mp3", FakeServices(segments=[TranscriptSegment(1.5, 4.0, "Hello there.", 0.9)]))
    assert sources(chunks) == [{"type": "audio", "start": 1.5, "end": 4.0, "timestamp": "1.50s"}]


def test_words_of_a_language_without_spaces_are_joined_without_any() -> None:
    words = [word for segment in [spoken("今 天 天 气 很 好 。", 0.0)] for word in segment.words]
    words = [type(word)(word.word.strip(), word.start_s, word.end_s, word.confidence) for word in words]
    chunks = index("audio", "mp3", FakeServices(segments=[TranscriptSegment(0.0, 2.1, "今天天气很好。", 0.9, words)]))
    assert texts(chunks) == ["今天天气很好。"]


def test_silence_is_completed_without_a_chunk() -> None:
    assert index("audio", "wav", FakeServices(segments=[])) == []


def test_a_recording_may_take_as_long_as_it_plays() -> None:
    fakes = FakeServices(segments=[])
    index("audio", "wav", fakes)
    assert services.TRANSCRIBING_S - 60 < fakes.deadlines["transcribe"] <= services.TRANSCRIBING_S == 7200


def test_a_recording_over_the_limit_fails_for_good() -> None:
    error, may_retry = fail("audio", "mp3", FakeServices(segments=FileTooLarge("It lasts three hours.")))
    assert (error.code, may_retry) == ("FILE_TOO_LARGE", False)
