"""The engine with voice activity detection, tested with the miniature on real speech."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch
import whisper
from numpy.typing import NDArray
from whisper.audio import N_FRAMES
from whisper.tokenizer import Tokenizer

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded
from deployments.media import as_media
from deployments.project import project_folder
from deployments.transcriber import decoding
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.checkpoint import load_whisper
from deployments.transcriber.decoding import EncodedWindow, WindowDecoder
from deployments.transcriber.engine import WhisperEngine, _parse_timestamps, load_engine
from deployments.transcriber.mel import LogMel
from deployments.transcriber.settings import WhisperPrecision
from deployments.transcriber.types import TranscribeTask, Transcript, TranscriptSegment
from deployments.transcriber.voice_activity import SpeechProbabilities, VoiceActivityDetector
from deployments.transcriber.windows import Window
from recipes.samples import CLIP, RECORDING
from tests.data.contents import SENTENCE
from tests.deployments.transcriber.sounds import noise, tone
from tests.deployments.transcriber.test_engine import CountedChecks

MINIATURE = project_folder() / "checkpoints" / "mini" / "whisper-mini.pt"
NEVER_CANCELLED = Cancellation(math.inf)


def decode_file(path: str) -> Waveform:
    return decode_audio(as_media((project_folder() / path).read_bytes()), NEVER_CANCELLED, 60).waveform


def silence(duration_s: float) -> Waveform:
    return np.zeros(round(duration_s * SAMPLE_RATE), np.float32)


def joined(*parts: Waveform) -> Waveform:
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    return load_engine(MINIATURE, "int8")


@pytest.fixture(scope="module")
def sentence() -> Waveform:
    """SENTENCE, 3.2 s."""
    return decode_file("tests/data/speech.wav")


SENTENCES = [*RECORDING, *(sentence for _, sentence in CLIP), SENTENCE]


@pytest.fixture(scope="module")
def long_recording(sentence: Waveform) -> Waveform:
    """SENTENCES three times, in 90 s, which are several windows."""
    return np.tile(joined(decode_file("samples/recording.mp3"), decode_file("samples/clip.mp4"), sentence), 3)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("samples/recording.mp3", " ".join(RECORDING)),
        ("samples/clip.mp4", " ".join(sentence for _, sentence in CLIP)),
        ("tests/data/speech.wav", SENTENCE),
        ("tests/data/speech-opus.ogg", SENTENCE),
    ],
)
def test_speech_is_transcribed_word_for_word(engine: WhisperEngine, path: str, text: str) -> None:
    transcript = engine.transcribe(decode_file(path), TranscribeTask(), NEVER_CANCELLED)
    assert (transcript.text, transcript.language) == (text, "en")


def note(hertz: float, duration_s: float) -> NDArray[np.float64]:
    """Return the sound of a struck string: decaying overtones."""
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    string = sum(np.sin(2 * np.pi * hertz * k * t) / k**1.5 for k in range(1, 9))
    return np.asarray(string * np.minimum(t / 0.02, 1) * np.exp(-t / 0.5))


def music(duration_s: float, *, has_drums: bool) -> Waveform:
    """Return chords in changing keys, two per second, with or without drums."""
    rng = np.random.default_rng(3)
    sound = np.zeros(round((duration_s + 1) * SAMPLE_RATE))
    for beat in range(round(2 * duration_s)):
        chord = slice(beat * SAMPLE_RATE // 2, (beat + 2) * SAMPLE_RATE // 2)
        root = 220 * 2 ** (rng.integers(-12, 8) / 12)
        sound[chord] += sum(note(root * 2 ** (step / 12), 1) for step in (0, 4, 7))
        if has_drums:
            fading = np.exp(-np.arange(SAMPLE_RATE) / SAMPLE_RATE / 0.05)
            drum = np.sin(2 * np.pi * 60 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
            sound[chord] += 3 * fading * (drum if beat % 2 else rng.standard_normal(SAMPLE_RATE))
    return (0.7 * sound / np.abs(sound).max()).astype(np.float32)


def hum(duration_s: float) -> Waveform:
    t = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(sum(0.2 * np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 9)), np.float32)


def pink(duration_s: float) -> Waveform:
    spectrum = np.fft.rfft(np.random.default_rng(4).standard_normal(round(duration_s * SAMPLE_RATE)))
    hertz = np.fft.rfftfreq(round(duration_s * SAMPLE_RATE), 1 / SAMPLE_RATE)
    sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 20)))
    return (0.1 * sound / sound.std()).astype(np.float32)


WITHOUT_SPEECH: dict[str, Callable[[], Waveform]] = {
    "digital silence": lambda: silence(5),
    "faint noise": lambda: noise(5) / 100,
    "noise": lambda: noise(5),
    "loud noise": lambda: noise(5) * 3,
    "pink noise": lambda: pink(5),
    "hum": lambda: hum(5),
    "tone": tone,
    "chords": lambda: music(5, has_drums=False),
    "chords and drums": lambda: music(5, has_drums=True),
}


@pytest.mark.parametrize("language", [None, "es"])
@pytest.mark.parametrize("sound", list(WITHOUT_SPEECH))
def test_audio_without_speech_gives_an_empty_transcript(
    engine: WhisperEngine, sound: str, language: str | None
) -> None:
    waveform = WITHOUT_SPEECH[sound]()
    transcript = engine.transcribe(waveform, TranscribeTask(language, word_timestamps=True), NEVER_CANCELLED)
    assert transcript == Transcript("", language or "und", 0.0, [], len(waveform) / SAMPLE_RATE)


@pytest.mark.parametrize("background", ["silence", "noise"])
def test_segments_between_long_silences_have_the_times_of_the_recording(
    engine: WhisperEngine, sentence: Waveform, background: str
) -> None:
    waveform = joined(silence(120), sentence, silence(5), sentence, silence(60), sentence, silence(20))
    if background == "noise":
        waveform = waveform + noise(len(waveform) / SAMPLE_RATE) / 30
    loud = np.flatnonzero(np.abs(sentence) > 0.02 * np.abs(sentence).max()) / SAMPLE_RATE
    length_s = len(sentence) / SAMPLE_RATE
    starts_s = [120, 125 + length_s, 185 + 2 * length_s]
    for word_timestamps in (False, True):
        task = TranscribeTask(word_timestamps=word_timestamps)
        transcript = engine.transcribe(waveform, task, NEVER_CANCELLED)
        assert transcript.duration_s == len(waveform) / SAMPLE_RATE
        assert [segment.text for segment in transcript.segments] == [SENTENCE] * 3
        assert transcript.text == " ".join([SENTENCE] * 3)
        for segment, start_s in zip(transcript.segments, starts_s, strict=True):
            assert segment.start_s == pytest.approx(start_s + loud[0], abs=0.3)
            assert segment.end_s == pytest.approx(start_s + loud[-1], abs=0.3)


def test_words_between_long_silences_have_the_times_of_the_recording(engine: WhisperEngine, sentence: Waveform) -> None:
    task = TranscribeTask(word_timestamps=True)
    [alone] = engine.transcribe(joined(silence(0.4), sentence), task, NEVER_CANCELLED).segments
    assert [word.word.strip() for word in alone.words] == SENTENCE.split()
    waveform = joined(silence(120), sentence, silence(5), sentence, silence(1))
    segments = engine.transcribe(waveform, task, NEVER_CANCELLED).segments
    for segment, offset_s in zip(segments, (119.6, 124.6 + len(sentence) / SAMPLE_RATE), strict=True):
        for word, expected in zip(segment.words, alone.words, strict=True):
            assert word.word == expected.word
            assert word.start_s == pytest.approx(expected.start_s + offset_s, abs=0.2)
            assert word.end_s == pytest.approx(expected.end_s + offset_s, abs=0.2)
        assert all(a.end_s <= b.start_s for a, b in pairwise(segment.words))


@pytest.fixture(params=["int8", pytest.param("fp32", marks=pytest.mark.slow)])
def decoder(request: pytest.FixtureRequest) -> WindowDecoder:
    model = load_whisper(MINIATURE, request.param)
    model.dims.n_text_ctx = 120  # half of it is for text; otherwise windows of noise would get very long texts
    return WindowDecoder(model, lambda: None)


def frames_of(sound: Waveform) -> torch.Tensor:
    return LogMel(sound, 80, lambda: None).window(0)


def test_a_windows_result_does_not_depend_on_its_batch(
    decoder: WindowDecoder, sentence: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if some windows are decoded again at higher temperatures and others are not."""
    monkeypatch.setattr(decoding, "_better", decoding._last)  # so that the results are those at higher temperatures
    sounds = [sentence, decode_file("samples/recording.mp3"), noise(7)]
    unclear = [torch.randn(80, N_FRAMES, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1) for seed in (1, 4)]
    mels = [frames_of(sounds[0]), unclear[0], frames_of(sounds[1]), unclear[1], frames_of(sounds[2])]
    alone = [decoder.decode_batch([decoder.encode(mel)], ["en"])[0] for mel in mels]
    assert len({result.temperature for result in alone}) > 1
    for order in ([0, 1, 2, 3, 4], [3, 2]):
        together = decoder.decode_batch([decoder.encode(mels[i]) for i in order], ["en"] * len(order))
        for i, result in zip(order, together, strict=True):
            assert result.tokens == alone[i].tokens
            if decoder._is_int8:
                assert result.avg_logprob == alone[i].avg_logprob
                assert result.no_speech_prob == alone[i].no_speech_prob


def test_results_of_the_largest_batch_are_bit_equal_to_those_of_one_window(sentence: Waveform) -> None:
    decoder = WindowDecoder(load_whisper(MINIATURE, "int8"), lambda: None)
    mels = [frames_of(sentence[1000 * i :]) for i in range(decoder.max_batch_size)]
    together = decoder.decode_batch([decoder.encode(mel) for mel in mels], ["en"] * len(mels))
    for i in (0, 3, 7):
        [alone] = decoder.decode_batch([decoder.encode(mels[i])], ["en"])
        assert (together[i].tokens, together[i].avg_logprob) == (alone.tokens, alone.avg_logprob)


@pytest.mark.parametrize(
    ("width", "heads", "layers", "expected"),
    [(384, 6, 4, (7, 5, 3, 1)), (512, 8, 6, (4, 3, 1, 1)), (768, 12, 12, (2, 1, 1, 1)), (1024, 16, 24, (1, 1, 1, 1))],
)
def test_larger_models_get_smaller_batches(width: int, heads: int, layers: int, expected: tuple[int, ...]) -> None:
    """In int8 and in fp32, each with a beam of 1 and of 3."""
    batch_sizes = []
    for precision in get_args(WhisperPrecision):
        model = load_whisper(MINIATURE, precision)
        model.dims = replace(
            model.dims,
            n_audio_state=width,
            n_text_state=width,
            n_text_head=heads,
            n_text_layer=layers,
        )
        batch_sizes += [WindowDecoder(model, lambda: None, beam_size=size).max_batch_size for size in (1, 3)]
    assert tuple(batch_sizes) == expected


@pytest.mark.parametrize("precision", ["int8", pytest.param("fp32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("word_timestamps", [False, True])
def test_a_long_recording_gives_the_same_transcript_one_window_at_a_time(
    long_recording: Waveform, precision: WhisperPrecision, word_timestamps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_engine(MINIATURE, precision)
    task = TranscribeTask(word_timestamps=word_timestamps)
    together = engine.transcribe(long_recording, task, NEVER_CANCELLED)
    assert together.text == " ".join(SENTENCES * 3)
    monkeypatch.setattr(decoding, "_MAX_BATCH_SIZE", 1)
    one_by_one = engine.transcribe(long_recording, task, NEVER_CANCELLED)
    if precision == "int8":
        assert together == one_by_one
    assert together.text == one_by_one.text
    for segment, other in zip(together.segments, one_by_one.segments, strict=True):
        assert segment.start_s == pytest.approx(other.start_s, abs=0.1)


@pytest.mark.parametrize(("has_detector", "word_timestamps"), [(True, True), (False, False)])
def test_segments_are_sent_while_later_ones_are_still_decoded_and_never_change(
    long_recording: Waveform, engine: WhisperEngine, word_timestamps: bool, has_detector: bool
) -> None:
    if not has_detector:
        engine = load_engine(MINIATURE, "int8", speech_detection=False)
    task = TranscribeTask(word_timestamps=word_timestamps)
    sent: list[tuple[float, int, list[TranscriptSegment]]] = []
    transcript = engine.transcribe(long_recording, task, NEVER_CANCELLED, lambda *update: sent.append(update))
    assert [segment for _, _, segments in sent for segment in segments] == transcript.segments
    assert transcript == engine.transcribe(long_recording, task, NEVER_CANCELLED)
    numbers = [first for _, first, _ in sent]
    assert numbers == list(np.cumsum([0, *(len(segments) for _, _, segments in sent)]))[:-1]
    assert [done_s for done_s, _, _ in sent] == sorted(done_s for done_s, _, _ in sent)
    assert 0 < len(sent[0][2]) < len(transcript.segments)


def test_a_window_with_more_text_than_the_token_limit_is_continued_before_the_next_window(
    engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_MAX_BATCH_SIZE", 1)
    sound = joined(decode_file("samples/recording.mp3"), silence(40), decode_file("samples/recording.mp3"))
    narrow = copy.deepcopy(engine)
    narrow._model.dims.n_text_ctx = 52  # half of it is for text; the three sentences take 31 tokens
    cancellation = CountedChecks()
    whole, parts = (
        engine.transcribe(sound, TranscribeTask(), NEVER_CANCELLED),
        narrow.transcribe(sound, TranscribeTask(), cancellation),
    )
    assert parts.text == whole.text == " ".join([*RECORDING, *RECORDING])
    for part, segment in zip(parts.segments, whole.segments, strict=True):
        assert part.start_s == pytest.approx(segment.start_s, abs=0.3)
        assert part.end_s == pytest.approx(segment.end_s, abs=0.3)
    seconds = [int(progress.split()[0]) for progress in cancellation.progress]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == 4


def test_text_without_an_end_timestamp_lasts_until_the_end_of_its_window(engine: WhisperEngine) -> None:
    tokenizer = engine._tokenizer("en", TranscribeTask())
    begin = tokenizer.timestamp_begin
    tokens = [begin + 50, *tokenizer.encode(" One."), begin + 100, begin + 120, *tokenizer.encode(" Two.")]
    result = whisper.DecodingResult(audio_features=torch.empty(0), language="en", tokens=tokens, avg_logprob=-0.1)
    parsed = _parse_timestamps(result, tokenizer, 0, 900)
    assert [(segment["text"], segment["start"], segment["end"]) for segment in parsed.segments] == [(" One.", 1.0, 2.0)]
    assert parsed.unfinished is not None
    assert (parsed.unfinished["text"], parsed.unfinished["start"], parsed.unfinished["end"]) == (" Two.", 2.4, 9.0)
    result = replace(result, tokens=tokens[:-2])
    assert _parse_timestamps(result, tokenizer, 0, 900).unfinished is None


def scripted(monkeypatch: pytest.MonkeyPatch, edit: Callable[[list[int], Tokenizer], list[int]]) -> list[int]:
    """Have the model's first window give other tokens; return a list that gets the number of windows of each batch."""
    decode_batch = WindowDecoder.decode_batch
    batches: list[int] = []

    def edited(self: WindowDecoder, windows: list[EncodedWindow], languages: list[str]) -> list[whisper.DecodingResult]:
        results = decode_batch(self, windows, languages)
        batches.append(len(windows))
        if len(batches) == 1:
            tokens = edit(results[0].tokens, whisper.tokenizer.get_tokenizer(True))
            results[0] = replace(results[0], tokens=tokens, avg_logprob=-0.1)
        return results

    monkeypatch.setattr(WindowDecoder, "decode_batch", edited)
    return batches


def first_sentences(count: int) -> Callable[[list[int], Tokenizer], list[int]]:
    """Return a function that leaves so many sentences of a text, without the last timestamp."""

    def edit(tokens: list[int], tokenizer: Tokenizer) -> list[int]:
        timestamps = [i for i, token in enumerate(tokens) if token >= tokenizer.timestamp_begin]
        return tokens[: timestamps[2 * count - 1]]

    return edit


def test_a_segment_that_ends_within_a_sentence_goes_on_where_nobody_pauses(
    engine: WhisperEngine, sentence: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def divided(tokens: list[int], tokenizer: Tokenizer) -> list[int]:
        middle = len(tokens) // 2
        timestamp = (tokens[0] + tokens[-1]) // 2
        return [*tokens[:middle], timestamp, timestamp, *tokens[middle:]]

    [expected] = engine.transcribe(sentence, TranscribeTask(), NEVER_CANCELLED).segments
    scripted(monkeypatch, divided)
    transcript = engine.transcribe(sentence, TranscribeTask(), NEVER_CANCELLED)
    [segment] = transcript.segments
    assert (transcript.text, segment.text) == (SENTENCE, SENTENCE)
    assert segment.start_s == pytest.approx(expected.start_s, abs=0.1)
    assert segment.end_s == pytest.approx(expected.end_s, abs=0.1)


@pytest.mark.parametrize("num_sentences", [1, 2])
def test_speech_after_a_text_that_breaks_off_without_an_end_timestamp_is_transcribed(
    engine: WhisperEngine, num_sentences: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whisper does so in noise, and gave up the rest of the window."""
    batches = scripted(monkeypatch, first_sentences(num_sentences))
    transcript = engine.transcribe(decode_file("samples/recording.mp3"), TranscribeTask(), NEVER_CANCELLED)
    assert transcript.text == " ".join(RECORDING)
    assert batches == [1, 1]


def test_text_without_an_end_timestamp_ends_with_its_last_word(
    engine: WhisperEngine, sentence: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = engine.transcribe(joined(silence(60), sentence), TranscribeTask(), NEVER_CANCELLED)
    scripted(monkeypatch, first_sentences(1))
    transcript = engine.transcribe(joined(silence(60), sentence), TranscribeTask(), NEVER_CANCELLED)
    assert (transcript.text, len(transcript.segments)) == (SENTENCE, 1)
    assert transcript.segments[0].end_s == pytest.approx(expected.segments[0].end_s, abs=0.1)
    assert transcript.segments[0].words == []


@pytest.mark.parametrize("has_gap", [True, False])
def test_a_sentence_that_the_model_leaves_out_gets_a_window_of_its_own(
    engine: WhisperEngine, sentence: Waveform, has_gap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real weights leave out a sentence, with or without a gap in the timestamps, and the alignment shows where.

    That of the miniature stretches the words after it, so the words get the times they have in the whole text.
    """
    waveform = joined(sentence, decode_file("samples/recording.mp3"))
    whole = engine.transcribe(waveform, TranscribeTask(word_timestamps=True), NEVER_CANCELLED)
    assert [segment.text for segment in whole.segments] == [SENTENCE, *RECORDING]
    times = [[(word.start_s, word.end_s) for word in segment.words] for segment in whole.segments]
    times_of_others = [times[0], times[1], times[3]]

    def without_third(tokens: list[int], tokenizer: Tokenizer) -> list[int]:
        timestamps = [i for i, token in enumerate(tokens) if token >= tokenizer.timestamp_begin]
        second_end, fourth_start = timestamps[3], timestamps[6]
        end = tokens[second_end] if has_gap else tokens[fourth_start]
        return [*tokens[:second_end], end, *tokens[fourth_start:]]

    batches = scripted(monkeypatch, without_third)
    align = WindowDecoder.add_word_timestamps

    def aligned(self: WindowDecoder, segments: list[dict[str, Any]], *args: Any, **options: Any) -> None:
        align(self, segments, *args, **options)
        if len(segments) == 3:
            for segment, words in zip(segments, times_of_others, strict=True):
                segment["words"] = [
                    {**word, "start": start_s, "end": end_s}
                    for word, (start_s, end_s) in zip(segment["words"], words, strict=True)
                ]

    monkeypatch.setattr(WindowDecoder, "add_word_timestamps", aligned)
    transcript = engine.transcribe(waveform, TranscribeTask(), NEVER_CANCELLED)
    assert sorted(segment.text for segment in transcript.segments) == sorted([SENTENCE, *RECORDING])
    assert batches == [1, 1]


def up_to_first_end(tokens: list[int], tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of the first sentence with its timestamps: then the model says that there is no more speech."""
    timestamps = [i for i, token in enumerate(tokens) if token >= tokenizer.timestamp_begin]
    return tokens[: timestamps[1] + 1]


def test_speech_after_the_end_that_the_model_gives_to_the_text_gets_a_window_of_its_own(
    engine: WhisperEngine, sentence: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause_s in (0.3, 5):  # in the same chunk of the window, and in another one
        with monkeypatch.context() as patch:
            batches = scripted(patch, up_to_first_end)
            waveform = joined(sentence, silence(pause_s), sentence)
            transcript = engine.transcribe(waveform, TranscribeTask("en"), NEVER_CANCELLED)
        assert [segment.text for segment in transcript.segments] == [SENTENCE, SENTENCE]
        assert batches == [1, 1]


def test_a_word_after_a_pause_and_the_end_of_the_text_gets_a_window_of_its_own(
    engine: WhisperEngine, sentence: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three spoken digits, Whisper base gave the first only."""
    word = sentence[:SAMPLE_RATE]
    batches = scripted(monkeypatch, up_to_first_end)
    transcript = engine.transcribe(joined(sentence, silence(0.8), word), TranscribeTask("en"), NEVER_CANCELLED)
    assert batches == [1, 1]
    assert transcript.text.startswith(SENTENCE)
    [_, second] = transcript.segments
    assert second.start_s == pytest.approx(len(sentence) / SAMPLE_RATE + 0.8, abs=0.4)


def test_all_speech_after_the_end_of_the_text_gets_a_window_although_a_pause_is_in_it(
    engine: WhisperEngine, sentence: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, up_to_first_end)
    waveform = joined(sentence, silence(0.2), sentence, silence(0.8), sentence[:SAMPLE_RATE])
    [_, second, *_] = engine.transcribe(waveform, TranscribeTask("en"), NEVER_CANCELLED).segments
    assert second.start_s == pytest.approx(len(sentence) / SAMPLE_RATE + 0.2, abs=0.5)
    assert SENTENCE in second.text


def test_soft_speech_is_transcribed_like_loud_speech(engine: WhisperEngine, sentence: Waveform) -> None:
    """Also with clicks that are as loud as the speech was."""
    soft = sentence * 10 ** (-55 / 20) / np.abs(sentence).max()
    steps = np.round(soft * 2**15).astype(np.float32) / 2**15
    clicks = np.zeros(len(soft), np.float32)
    clicks[20_000::30_000] = 0.02
    for waveform in (steps, steps + clicks):
        assert engine.transcribe(waveform, TranscribeTask(), NEVER_CANCELLED).text == SENTENCE


@pytest.mark.parametrize(
    ("logprob", "certainty", "is_word", "is_sentence"),
    [(-1.1, 1.0, True, True), (-1.3, 1.0, False, True), (-0.7, 0.5, True, True), (-0.9, 0.5, False, False)],
)
def test_an_improbable_text_does_not_count_where_the_detector_finds_hardly_any_speech_or_is_uncertain(
    engine: WhisperEngine,
    sentence: Waveform,
    logprob: float,
    certainty: float,
    is_word: bool,
    is_sentence: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As for the sounds of animals, which a detector that hears single words takes for speech."""
    decode_batch = WindowDecoder.decode_batch
    detect = VoiceActivityDetector.probabilities

    def improbable(
        self: WindowDecoder, windows: list[EncodedWindow], languages: list[str]
    ) -> list[whisper.DecodingResult]:
        return [replace(result, avg_logprob=logprob) for result in decode_batch(self, windows, languages)]

    def less_certain(self: VoiceActivityDetector, *args: Any, **options: Any) -> SpeechProbabilities:
        return detect(self, *args, **options) * np.float32(certainty)

    monkeypatch.setattr(WindowDecoder, "decode_batch", improbable)
    monkeypatch.setattr(VoiceActivityDetector, "probabilities", less_certain)
    word = engine.transcribe(sentence[:SAMPLE_RATE], TranscribeTask("en"), NEVER_CANCELLED)
    assert bool(word.text) == is_word
    whole = engine.transcribe(sentence, TranscribeTask("en"), NEVER_CANCELLED)
    assert whole.text == (SENTENCE if is_sentence else "")


def test_the_language_is_detected_on_the_first_speech(engine: WhisperEngine, sentence: Waveform) -> None:
    waveform = joined(noise(40) / 3, sentence, noise(40) / 3)
    assert engine.transcribe(waveform, TranscribeTask(), NEVER_CANCELLED).language == "en"


def test_detecting_the_language_does_not_encode_a_window_again(
    engine: WhisperEngine, sentence: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = WindowDecoder.encode
    encoded: list[torch.Tensor] = []

    def counted(self: WindowDecoder, mel: torch.Tensor) -> EncodedWindow:
        encoded.append(mel)
        return encode(self, mel)

    monkeypatch.setattr(WindowDecoder, "encode", counted)
    assert (
        engine.transcribe(joined(sentence, silence(35), sentence), TranscribeTask(), NEVER_CANCELLED).language == "en"
    )
    assert len(encoded) == 2


def test_each_segment_has_the_language_of_its_part(
    engine: WhisperEngine, sentence: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The miniature knows English only; so German is "detected" after the 7th second, in the first window as well."""
    two = joined(sentence, silence(0.1), sentence)
    waveform = joined(two, silence(3), two, silence(40), sentence)
    extract = Window.extract
    starts: list[float] = []

    def extracted(self: Window, recording: Waveform, gain: float = 1.0) -> Waveform:
        starts.append(self.start / SAMPLE_RATE)
        return extract(self, recording, gain)

    def detected(_: WindowDecoder, windows: list[EncodedWindow]) -> list[dict[str, float]]:
        is_whole_window = len(starts) == 1
        share = 0.8 if is_whole_window else float(starts[-1] < 7)
        return [{"en": share, "de": 1 - share} for _ in windows]

    monkeypatch.setattr(Window, "extract", extracted)
    monkeypatch.setattr(WindowDecoder, "language_probabilities", detected)
    plain = engine.transcribe(waveform, TranscribeTask(word_timestamps=True), NEVER_CANCELLED)
    languages = [(segment.language, segment.start_s < 7) for segment in plain.segments]
    assert languages == sorted(languages, reverse=True)
    assert set(languages) == {("en", True), ("de", False)}
    assert plain.segments[0].text.startswith(SENTENCE)
    assert plain.language == "de"
    starts.clear()
    sent: list[TranscriptSegment] = []
    streamed = engine.transcribe(
        waveform,
        TranscribeTask(word_timestamps=True),
        NEVER_CANCELLED,
        lambda _until, _first, final: sent.extend(final),
    )
    assert streamed == plain
    assert sent == plain.segments


def test_a_window_in_which_whisper_finds_no_speech_gives_no_text(long_recording: Waveform) -> None:
    model = whisper.load_model(str(MINIATURE))
    tokenizer = whisper.tokenizer.get_tokenizer(True)
    model.decoder.ln.weight.data *= 0.1  # no word is probable
    model.decoder.token_embedding.weight.data[tokenizer.no_speech] = 100 * model.decoder.ln.bias.data.sign()
    transcript = WhisperEngine(model, VoiceActivityDetector()).transcribe(
        long_recording, TranscribeTask(), NEVER_CANCELLED
    )
    assert transcript == Transcript("", "und", 0.0, [], len(long_recording) / SAMPLE_RATE)


def test_work_stops_at_any_check_and_leaves_the_model_unchanged(
    engine: WhisperEngine, long_recording: Waveform, sentence: Waveform
) -> None:
    task = TranscribeTask(word_timestamps=True)
    before = engine.transcribe(sentence, task, NEVER_CANCELLED)
    for num_checks in (1, 3, 8, 30, 100):
        cancellation = CountedChecks(num_checks)
        with pytest.raises(WorkCancelled):
            engine.transcribe(long_recording, task, cancellation)
        assert len(cancellation.progress) == num_checks
    assert engine.transcribe(sentence, task, NEVER_CANCELLED) == before


def test_cancellation_is_checked_in_every_layer_of_every_batched_step(
    engine: WhisperEngine, long_recording: Waveform
) -> None:
    """All windows of a batch share their steps, so there are fewer checks than tokens times layers."""
    cancellation = CountedChecks()
    transcript = engine.transcribe(long_recording, TranscribeTask(), cancellation)
    num_windows, num_layers = math.ceil(90 / 30), engine._model.dims.n_text_layer
    tokens_of_a_window = len(transcript.text.split()) / num_windows
    assert len(cancellation.progress) > tokens_of_a_window * num_layers


def test_progress_counts_the_seconds_transcribed(
    engine: WhisperEngine, long_recording: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_MAX_BATCH_SIZE", 2)
    cancellation = CountedChecks()
    engine.transcribe(joined(silence(100), long_recording), TranscribeTask("en"), cancellation)
    seconds = [
        int(progress.removesuffix(" of 191 seconds of audio were transcribed")) for progress in cancellation.progress
    ]
    assert seconds == sorted(seconds)
    assert seconds[0] == 0
    assert 130 < seconds[-1] < 191
    assert len(set(seconds)) == 3


def test_a_missed_deadline_reports_the_seconds_transcribed(engine: WhisperEngine, long_recording: Waveform) -> None:
    class Late(Cancellation):
        def check(self, progress: str = "") -> None:
            raise DeadlineExceeded(progress)

    with pytest.raises(DeadlineExceeded, match=r"^0 of 91 seconds of audio were transcribed$"):
        engine.transcribe(long_recording, TranscribeTask(), Late(math.inf))
