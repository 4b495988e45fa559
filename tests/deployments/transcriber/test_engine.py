import copy
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whisper
from whisper import Whisper
from whisper.audio import SAMPLE_RATE
from whisper.model import disable_sdpa

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded, InvalidRequest, ModelNotLoaded
from deployments.transcriber.audio import Waveform
from deployments.transcriber.decoding import _word_timestamps_lock, suspect_reason
from deployments.transcriber.engine import WhisperEngine, load_engine
from deployments.transcriber.segments import in_order
from deployments.transcriber.types import (
    Decoding,
    SuspectReason,
    TranscribeTask,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
)
from tests.deployments.transcriber.conftest import Loaded
from tests.deployments.transcriber.random_whisper import DIMENSIONS, END, FIRST_RANDOM, write_whisper
from tests.deployments.transcriber.sounds import noise, sweep, tone

NEVER_CANCELLED = Cancellation(math.inf)


def reference_transcript(model: Whisper, waveform: Waveform, task: TranscribeTask) -> Transcript:
    """Return the result of `whisper.transcribe`, which samples from torch's global generator, seeded like ours."""
    torch.manual_seed(0)
    answer = whisper.transcribe(
        model,
        waveform,
        language=task.language,
        word_timestamps=task.word_timestamps,
        task="translate" if task.translate else "transcribe",
        initial_prompt=task.prompt or None,
        carry_initial_prompt=True,
        condition_on_previous_text=False,
        fp16=False,
    )
    segments = [
        TranscriptSegment(
            segment["start"],
            segment["end"],
            segment["text"].strip(),
            math.exp(segment["avg_logprob"]),
            [
                TranscriptWord(word["word"], word["start"], word["end"], word["probability"])
                for word in segment.get("words", [])
            ],
            _reference_reason(segment),
            language=answer["language"],
            decoding=Decoding(**{field.name: segment[field.name] for field in fields(Decoding)}),
        )
        for segment in answer["segments"]
        if segment["text"]
    ]
    seconds = [segment.end_s - segment.start_s for segment in segments]
    confidence = sum(segment.confidence * s for segment, s in zip(segments, seconds, strict=True)) / sum(seconds)
    return Transcript(answer["text"].strip(), answer["language"], confidence, segments, len(waveform) / SAMPLE_RATE)


def _reference_reason(segment: dict[str, Any]) -> SuspectReason | None:
    if segment["compression_ratio"] > 2.4:
        return "repetition"
    if segment["no_speech_prob"] > 0.6:
        return "no_speech"
    return "low_probability" if segment["avg_logprob"] < -1 else None


def with_flat_logits(model: Whisper) -> Whisper:
    """Return a copy for which no word is probable, so that every window is decoded at every temperature."""
    unsure = copy.deepcopy(model)
    unsure.decoder.ln.weight.data[FIRST_RANDOM:] *= 0.3
    unsure.decoder.ln.weight.data[END] *= 0.7
    return unsure


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "task",
    [
        TranscribeTask(),
        TranscribeTask("ja", word_timestamps=True),
        TranscribeTask("de", translate=True),
        TranscribeTask("en", prompt="Kubernetes, Grafana. Minutes of the meeting with Dr. Nguyen."),
    ],
)
def test_the_transcript_of_several_windows_equals_whispers(
    load: Callable[[int], Loaded], seed: int, task: TranscribeTask
) -> None:
    sound = np.concatenate([sweep(20), noise(11.3)])
    transcript = load(seed).engine.transcribe(sound, task, NEVER_CANCELLED)
    assert transcript.segments
    assert transcript == reference_transcript(load(seed).reference, sound, task)


@pytest.mark.parametrize("word_timestamps", [False, True])
def test_the_transcript_of_a_short_recording_equals_whispers(loaded: Loaded, word_timestamps: bool) -> None:
    task = TranscribeTask(word_timestamps=word_timestamps)
    assert loaded.engine.transcribe(tone(), task, NEVER_CANCELLED) == reference_transcript(
        loaded.reference, tone(), task
    )


def test_a_window_decoded_again_at_higher_temperatures_equals_whispers(loaded: Loaded) -> None:
    unsure = with_flat_logits(loaded.reference)
    transcript = WhisperEngine(unsure).transcribe(tone(), TranscribeTask(), NEVER_CANCELLED)
    assert transcript == reference_transcript(unsure, tone(), TranscribeTask())
    assert transcript.confidence < math.exp(-1)
    assert {segment.suspect for segment in transcript.segments} == {"low_probability"}


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        ({"compression_ratio": 2.5, "avg_logprob": -0.1, "no_speech_prob": 0.1}, "repetition"),
        ({"compression_ratio": 1.5, "avg_logprob": -0.5, "no_speech_prob": 0.7}, "no_speech"),
        ({"compression_ratio": 1.5, "avg_logprob": -1.1, "no_speech_prob": 0.1}, "low_probability"),
        ({"compression_ratio": 2.4, "avg_logprob": -1.0, "no_speech_prob": 0.6}, None),
    ],
)
def test_a_window_beyond_a_threshold_is_suspect(measures: dict[str, float], reason: str | None) -> None:
    result = whisper.DecodingResult(audio_features=torch.empty(0), language="en", **measures)
    assert suspect_reason(result) == reason


def test_concurrent_transcriptions_do_not_affect_each_other(loaded: Loaded) -> None:
    task = TranscribeTask(word_timestamps=True)
    sounds = [noise(12), sweep(12)]
    alone = [loaded.engine.transcribe(sound, task, NEVER_CANCELLED) for sound in sounds]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda sound: loaded.engine.transcribe(sound, task, NEVER_CANCELLED), sounds))
    assert together == alone


def test_another_thread_switching_sdpa_off_does_not_change_the_result(loaded: Loaded) -> None:
    before = loaded.engine.transcribe(tone(), TranscribeTask(), NEVER_CANCELLED)
    with disable_sdpa():
        assert loaded.engine.transcribe(tone(), TranscribeTask(), NEVER_CANCELLED) == before


def test_sampling_is_reproducible_while_another_request_runs(loaded: Loaded) -> None:
    engine = WhisperEngine(with_flat_logits(loaded.reference))
    alone = engine.transcribe(tone(), TranscribeTask(), NEVER_CANCELLED)
    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(engine.transcribe, sweep(2), TranscribeTask(), NEVER_CANCELLED)
        together = engine.transcribe(tone(), TranscribeTask(), NEVER_CANCELLED)
    assert together == alone
    assert other.result().text != alone.text


def test_word_timestamps_do_not_change_the_number_of_torch_threads(loaded: Loaded) -> None:
    loaded.engine.transcribe(tone(), TranscribeTask(word_timestamps=True), NEVER_CANCELLED)
    assert torch.get_num_threads() == 1


class CountedChecks(Cancellation):
    """Counts the checks, and cancels itself at check number `cancel_at`, if there is one."""

    def __init__(self, cancel_at: int | None = None) -> None:
        super().__init__(math.inf)
        self.cancel_at = cancel_at
        self.progress: list[str] = []

    def check(self, progress: str = "") -> None:
        self.progress.append(progress)
        if len(self.progress) == self.cancel_at:
            self.cancel()
        super().check(progress)


def test_work_stops_within_a_token_and_leaves_the_model_unchanged(loaded: Loaded) -> None:
    task = TranscribeTask(word_timestamps=True)
    before = loaded.engine.transcribe(tone(), task, NEVER_CANCELLED)
    for num_checks in (1, 3, 5, 9, 30, 70):
        cancellation = CountedChecks(num_checks)
        with pytest.raises(WorkCancelled):
            loaded.engine.transcribe(noise(35), task, cancellation)
        assert len(cancellation.progress) == num_checks
    assert loaded.engine.transcribe(tone(), task, NEVER_CANCELLED) == before


def test_cancellation_is_checked_in_every_layer_of_every_step(loaded: Loaded) -> None:
    cancellation = CountedChecks()
    transcript = loaded.engine.transcribe(tone(), TranscribeTask(), cancellation)
    num_tokens = len(transcript.text.split()) + 2 * len(transcript.segments)
    assert len(cancellation.progress) > num_tokens * DIMENSIONS.n_text_layer


def test_work_stops_while_it_waits_for_the_word_timestamps_lock(loaded: Loaded) -> None:
    before_word_timestamps = CountedChecks()
    loaded.engine.transcribe(tone(), TranscribeTask(), before_word_timestamps)
    cancellation = CountedChecks(len(before_word_timestamps.progress) + 1)
    with ThreadPoolExecutor(1) as threads, _word_timestamps_lock:
        waiting = threads.submit(loaded.engine.transcribe, tone(), TranscribeTask(word_timestamps=True), cancellation)
        with pytest.raises(WorkCancelled):
            waiting.result(timeout=30)


def test_progress_counts_the_seconds_transcribed(loaded: Loaded) -> None:
    class Late(Cancellation):
        def check(self, progress: str = "") -> None:
            if progress.split(" of ")[0] != "0":
                raise DeadlineExceeded(progress)

    with pytest.raises(DeadlineExceeded, match=r"^\d+ of 40 seconds of audio were transcribed$") as stopped:
        loaded.engine.transcribe(noise(39.5), TranscribeTask(), Late(math.inf))
    assert 0 < int(str(stopped.value).split()[0]) <= 30


@pytest.mark.parametrize("language", [None, "fr"])
def test_silence_gives_an_empty_transcript(loaded: Loaded, language: str | None) -> None:
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    transcript = loaded.engine.transcribe(silence, TranscribeTask(language), NEVER_CANCELLED)
    assert transcript == Transcript("", language or "und", 0.0, [], 3.0)


@pytest.mark.parametrize("language", [None, "fr"])
def test_a_recording_in_which_whisper_finds_no_speech_gives_an_empty_transcript(
    loaded: Loaded, language: str | None
) -> None:
    model = with_flat_logits(loaded.reference)
    no_speech = 50_362
    model.decoder.token_embedding.weight.data[no_speech, END] = -10
    transcript = WhisperEngine(model).transcribe(noise(35), TranscribeTask(language), NEVER_CANCELLED)
    assert transcript == Transcript("", language or "und", 0.0, [], 35.0)
    assert whisper.transcribe(model, noise(35), language=language, fp16=False)["segments"] == []


def test_a_recording_shorter_than_one_frame_gives_an_empty_transcript(loaded: Loaded) -> None:
    assert loaded.engine.transcribe(tone(start_s=0)[:100], TranscribeTask(), NEVER_CANCELLED).segments == []


def test_a_language_unknown_to_the_checkpoint_is_an_invalid_request(loaded: Loaded) -> None:
    with pytest.raises(InvalidRequest, match="does not know the language 'yue'; use 'auto' or one of: en, zh"):
        loaded.engine.transcribe(tone(), TranscribeTask("yue"), NEVER_CANCELLED)


@pytest.fixture(scope="module")
def english_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose vocabulary has one token less, as in openai-whisper's `.en` models."""
    folder = tmp_path_factory.mktemp("english")
    write_whisper(folder / "multilingual.pt", 0)
    checkpoint = torch.load(folder / "multilingual.pt")
    embedding = checkpoint["model_state_dict"]["decoder.token_embedding.weight"]
    checkpoint["model_state_dict"]["decoder.token_embedding.weight"] = torch.cat([embedding[:50256], embedding[50257:]])
    checkpoint["dims"]["n_vocab"] -= 1
    torch.save(checkpoint, folder / "english.pt")
    return folder / "english.pt"


def test_an_english_only_checkpoint_transcribes_english(english_only: Path) -> None:
    task = TranscribeTask(word_timestamps=True)
    transcript = load_engine(english_only, "fp32", speech_detection=False).transcribe(tone(), task, NEVER_CANCELLED)
    assert transcript.language == "en"
    assert transcript == reference_transcript(whisper.load_model(str(english_only)), tone(), task)


def test_an_english_only_checkpoint_refuses_other_languages(english_only: Path) -> None:
    with pytest.raises(InvalidRequest, match="'de'"):
        load_engine(english_only, "fp32").transcribe(tone(), TranscribeTask("de"), NEVER_CANCELLED)


def test_an_english_only_checkpoint_refuses_to_translate(english_only: Path) -> None:
    with pytest.raises(InvalidRequest, match="English only; leave out 'translate'"):
        load_engine(english_only, "fp32").transcribe(tone(), TranscribeTask(translate=True), NEVER_CANCELLED)


def test_a_prompt_takes_at_most_half_of_the_context(loaded: Loaded) -> None:
    longest = " ".join(["word"] * 220)
    loaded.engine.transcribe(tone(), TranscribeTask(prompt=longest), NEVER_CANCELLED)
    with pytest.raises(InvalidRequest, match=r"have 221 tokens together; the model takes 220\. Shorten them"):
        loaded.engine.transcribe(tone(), TranscribeTask(prompt=f"{longest} more"), NEVER_CANCELLED)


def test_a_prompt_with_the_name_of_a_special_token_is_text(loaded: Loaded) -> None:
    special, plain = (
        loaded.engine.transcribe(tone(), TranscribeTask(prompt=prompt), NEVER_CANCELLED)
        for prompt in ("<|endoftext|>", "")
    )
    assert special != plain


def test_the_error_for_a_file_that_is_not_a_checkpoint_says_what_to_do(loaded: Loaded, tmp_path: Path) -> None:
    path = tmp_path / "broken.pt"
    whole = loaded.path.read_bytes()
    for content in (b"", b"not a checkpoint", whole[: len(whole) // 2], whole[:-100]):
        path.write_bytes(content)
        with pytest.raises(ModelNotLoaded, match=r"broken.pt is not a complete .* checkpoint .*weights fetch"):
            load_engine(path, "fp32")


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"weights": torch.zeros(1)},
        {"dims": {"n_mels": 80}, "model_state_dict": {}},
        {"dims": asdict(DIMENSIONS), "model_state_dict": {}},
        [1, 2],
    ],
)
def test_the_error_for_a_checkpoint_of_another_model_says_what_to_do(checkpoint: Any, tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(ModelNotLoaded, match=r"other.pt is not a complete openai-whisper checkpoint"):
        load_engine(tmp_path / "other.pt", "fp32")


def test_words_follow_one_another_and_lie_within_their_segments() -> None:
    segments = [
        TranscriptSegment(
            1.0, 2.0, "a b", 1.0, [TranscriptWord(" a", 0.8, 1.4, 1.0), TranscriptWord(" b", 1.3, 2.3, 1.0)]
        ),
        TranscriptSegment(
            2.0, 3.0, "c d", 1.0, [TranscriptWord(" c", 2.2, 2.1, 1.0), TranscriptWord(" d", 2.0, 2.9, 1.0)]
        ),
        TranscriptSegment(3.0, 4.0, "e", 1.0, []),
    ]
    first, second, third = in_order(segments)
    assert [(word.start_s, word.end_s) for word in first.words] == [(0.8, 1.3), (1.3, 2.2)]
    assert [(word.start_s, word.end_s) for word in second.words] == [(2.2, 2.2), (2.2, 2.9)]
    assert (first.start_s, first.end_s) == (0.8, 2.2)
    assert (second.start_s, second.end_s) == (2.0, 3.0)
    assert third == segments[2]


@pytest.mark.parametrize("seed", range(30))
def test_words_of_any_times_are_putin_order(seed: int) -> None:
    times = np.random.default_rng(seed)
    starts = np.sort(times.uniform(0, 20, 6))
    segments = [
        TranscriptSegment(
            start,
            start + times.uniform(0, 5),
            "x",
            1.0,
            [TranscriptWord(" x", *(start + times.uniform(-1, 5, 2)), 1.0) for _ in range(times.integers(0, 5))],
        )
        for start in starts
    ]
    ordered = in_order(segments)
    assert [len(segment.words) for segment in ordered] == [len(segment.words) for segment in segments]
    edges = [edge for segment in ordered for word in segment.words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    for segment in ordered:
        assert all(segment.start_s <= word.start_s <= word.end_s <= segment.end_s for word in segment.words)
    assert [segment.start_s for segment in ordered] == sorted(segment.start_s for segment in ordered)
