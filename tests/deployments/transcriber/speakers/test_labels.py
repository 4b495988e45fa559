from deployments.transcriber.speakers.labels import Turn, label_transcript
from deployments.transcriber.types import Transcript, TranscriptSegment, TranscriptWord


def segment(*words: tuple[str, float, float]) -> TranscriptSegment:
    return TranscriptSegment(
        words[0][1],
        words[-1][2],
        "".join(word for word, _, _ in words).strip(),
        0.9,
        [TranscriptWord(*word, 0.8) for word in words],
        suspect="repetition",
    )


def transcript(*segments: TranscriptSegment) -> Transcript:
    return Transcript(" ".join(segment.text for segment in segments), "en", 0.9, list(segments), 20.0)


def said(transcript: Transcript) -> list[tuple[str | None, str]]:
    for segment in transcript.segments:
        assert {word.speaker for word in segment.words} <= {segment.speaker}
        assert all(segment.start_s <= word.start_s <= word.end_s <= segment.end_s for word in segment.words)
    return [(segment.speaker, segment.text) for segment in transcript.segments]


HELLO = segment((" Hello", 0.0, 0.5), (" there.", 0.5, 1.0), (" Hi", 2.0, 2.3), (" you.", 2.3, 3.0))


def test_a_segment_is_divided_where_the_speaker_changes() -> None:
    turns = [Turn(0.0, 1.2, 7), Turn(1.9, 3.1, 3)]
    labelled = label_transcript(transcript(HELLO), turns)
    assert said(labelled) == [("S1", "Hello there."), ("S2", "Hi you.")]
    first, second = labelled.segments
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0.0, 1.0, 2.0, 3.0)
    assert (second.confidence, second.suspect) == (0.9, "repetition")
    assert [word for one in labelled.segments for word in [w.word for w in one.words]] == [
        word.word for word in HELLO.words
    ]
    assert labelled.text == "Hello there. Hi you."


def test_speakers_are_numbered_in_order_of_first_appearance() -> None:
    words = [segment((f" {number}", float(number), number + 0.9)) for number in range(4)]
    turns = [Turn(float(number), number + 0.9, speaker) for number, speaker in enumerate([5, 2, 5, 9])]
    assert [speaker for speaker, _ in said(label_transcript(transcript(*words), turns))] == ["S1", "S2", "S1", "S3"]


def test_a_word_belongs_to_who_speaks_most_of_its_time() -> None:
    turns = [Turn(0.0, 1.0, 0), Turn(1.0, 1.4, 1), Turn(1.4, 2.0, 0)]
    labelled = label_transcript(transcript(segment((" a", 0.0, 0.9), (" b", 0.9, 1.9))), turns)
    assert said(labelled) == [("S1", "a b")]
    labelled = label_transcript(transcript(segment((" a", 0.0, 0.9), (" b", 0.8, 1.4))), turns)
    assert said(labelled) == [("S1", "a"), ("S2", "b")]


def test_a_word_that_nobody_speaks_belongs_to_who_is_nearest() -> None:
    turns = [Turn(0.0, 1.0, 0), Turn(3.0, 4.0, 1)]
    for start_s, speakers in ((1.2, {"S1"}), (2.5, {"S2"}), (10.0, {"S2"})):
        words = segment((" a", 0.1, 0.9)), segment((" b", start_s, start_s + 0.2))
        assert {label_transcript(transcript(*words), turns).segments[1].speaker} == speakers


def test_a_single_short_word_in_the_speech_of_another_is_an_inexact_time() -> None:
    turns = [Turn(0.0, 1.0, 0), Turn(1.0, 1.3, 1), Turn(1.3, 3.0, 0)]
    within = segment((" a", 0.0, 1.0), (" b", 1.0, 1.3), (" c", 1.3, 2.0))
    assert said(label_transcript(transcript(within), turns)) == [("S1", "a b c")]
    # "Yes," with pauses around it, is another one's.
    apart = segment((" a", 0.0, 0.7), (" b", 1.0, 1.3), (" c", 1.6, 2.0))
    assert said(label_transcript(transcript(apart), turns)) == [("S1", "a"), ("S2", "b"), ("S1", "c")]
    long = segment((" a", 0.0, 1.0), (" b", 1.0, 1.6), (" c", 1.6, 2.0))
    turns = [Turn(0.0, 1.0, 0), Turn(1.0, 1.6, 1), Turn(1.6, 3.0, 0)]
    assert len(label_transcript(transcript(long), turns).segments) == 3


def test_a_segment_without_words_has_one_speaker() -> None:
    without = TranscriptSegment(1.0, 4.0, "Hello there.", 0.9)
    labelled = label_transcript(transcript(without), [Turn(0.0, 2.0, 0), Turn(2.0, 4.0, 1)])
    assert said(labelled) == [("S1", "Hello there.")]


def test_where_no_speech_was_found_all_is_said_by_one() -> None:
    assert {speaker for speaker, _ in said(label_transcript(transcript(HELLO), []))} == {"S1"}


def test_nothing_said_is_nothing_labelled() -> None:
    empty = Transcript.empty("en", 3.0)
    assert label_transcript(empty, [Turn(0.0, 1.0, 0)]) == empty
