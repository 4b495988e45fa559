"""Transcription with openai-whisper: its checkpoint, spectrogram, tokenizer and rules."""

import math
import pickle
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import whisper
from torch import Tensor
from whisper import DecodingResult, Whisper
from whisper.audio import FRAMES_PER_SECOND, HOP_LENGTH, N_FRAMES, SAMPLE_RATE, TOKENS_PER_SECOND
from whisper.tokenizer import Tokenizer, get_tokenizer
from whisper.utils import get_end

from deployments.cancellation import Cancellation
from deployments.commands import RESTORE_ADVICE
from deployments.errors import InvalidRequest, ModelNotLoaded
from deployments.inference.int8_layers import weight_bytes
from deployments.settings import KernelChoice
from deployments.transcriber.audio import Waveform, is_silent
from deployments.transcriber.checkpoint import Precision, load_whisper
from deployments.transcriber.decoding import WindowDecoder, is_without_speech, prepare_word_times, suspect_reason
from deployments.transcriber.languages import LANGUAGES
from deployments.transcriber.mel import LogMel
from deployments.transcriber.speech import SpeechDetector, find_speech
from deployments.transcriber.types import Segment, TranscribeTask, Transcript, Word
from deployments.transcriber.windows import Window, gather

_FRAMES_PER_TOKEN = FRAMES_PER_SECOND // TOKENS_PER_SECOND
_SECONDS_PER_TOKEN = _FRAMES_PER_TOKEN * HOP_LENGTH / SAMPLE_RATE

_BROKEN_CHECKPOINT = (
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    pickle.UnpicklingError,
)
"""What torch and the package raise for files that are no checkpoints, or whose sizes cannot be."""


class WhisperEngine:
    """A Whisper model on the CPU; several threads may transcribe at once.

    Without a speech detector, text, segments and words in fp32 are those of `whisper.transcribe(model, waveform,
    condition_on_previous_text=False, fp16=False)`, but for spaces at the ends of texts and for its empty segments. A
    window does not see the text of the one before: an error would carry on from window to window, and often repeat
    itself for minutes.

    With one, only sound in which it hears speech is given to the model, and nothing is said where it hears none. This
    sound is gathered into windows that do not depend on each other and are decoded together. Each is treated as
    `whisper.transcribe` treats a recording of its own: its spectrogram is held to its own loudest moment, so that a
    window's text does not depend on how loud others are either. Times are those in the whole recording.
    """

    def __init__(self, model: Whisper, detector: SpeechDetector | None = None) -> None:
        self._model = model
        self._detector = detector
        self._languages = LANGUAGES[: model.num_languages] if model.is_multilingual else ("en",)

    @property
    def weight_bytes(self) -> int:
        return weight_bytes(self._model)

    def warm_up(self) -> None:
        """Run once what is compiled or set up at its first use, so that no request waits for it."""
        silence = np.zeros(SAMPLE_RATE, np.float32)
        if self._detector is not None:
            self._detector.probabilities(silence, _go_on)
        mel = LogMel(silence, self._model.dims.n_mels, _go_on).window(0)
        WindowDecoder(self._model, _go_on).decode(mel, "en", sample_len=2)
        prepare_word_times()

    def transcribe(self, waveform: Waveform, task: TranscribeTask, cancellation: Cancellation) -> Transcript:
        """Return what is said; a recording under SILENCE_PEAK is not shown to the model, which would invent words.

        The same waveform always gives the same answer. Raises InvalidRequest for a language that this model does not
        know, and what `cancellation` raises, within one layer of the model.
        """
        if task.language is not None and task.language not in self._languages:
            raise InvalidRequest(
                f"The model that is loaded does not know the language {task.language!r}; use 'auto' or one of: "
                f"{', '.join(self._languages)}."
            )
        duration_s = len(waveform) / SAMPLE_RATE
        if is_silent(waveform):
            return Transcript("", task.language or "und", 0.0, [], duration_s)
        if self._detector is None:
            text, language, segments = self._transcribe_windows(waveform, task, cancellation)
        else:
            text, language, segments = self._transcribe_speech(self._detector, waveform, task, cancellation)
        if not segments:
            language = task.language or "und"
        return Transcript(text, language, _mean_confidence(segments), segments, duration_s)

    def _transcribe_windows(
        self, waveform: Waveform, task: TranscribeTask, cancellation: Cancellation
    ) -> tuple[str, str, list[Segment]]:
        """Return text, language and segments, each window beginning where the last timestamp of the one before says."""
        seek = 0
        num_seconds = math.ceil(len(waveform) / SAMPLE_RATE)

        def check() -> None:
            cancellation.check(f"{seek // FRAMES_PER_SECOND} of {num_seconds} seconds of audio were transcribed")

        spectrogram = LogMel(waveform, self._model.dims.n_mels, check)
        decoder = WindowDecoder(self._model, check)
        language = task.language or self._detect_language(decoder, spectrogram)
        tokenizer = self._tokenizer(language)
        last_speech_s = 0.0
        segments: list[dict[str, Any]] = []
        while seek < spectrogram.num_frames:
            num_frames = min(N_FRAMES, spectrogram.num_frames - seek)
            mel = _frames_of_window(spectrogram, seek)
            result = decoder.decode(mel, language)
            if is_without_speech(result):
                seek += num_frames
                continue
            said = _split_at_timestamps(result, tokenizer, seek, num_frames)
            next_seek = said.next_seek
            if task.word_timestamps:
                decoder.add_word_timestamps(said.segments, tokenizer, mel, num_frames, last_speech_s)
                last_speech_s = get_end(said.segments)
                if said.is_open and last_speech_s > seek * HOP_LENGTH / SAMPLE_RATE:
                    next_seek = round(last_speech_s * FRAMES_PER_SECOND)
            segments += _without_empty(said.segments)
            seek = next_seek
        return _text(segments, tokenizer), language, [_as_segment(segment) for segment in segments]

    def _transcribe_speech(
        self, detector: SpeechDetector, waveform: Waveform, task: TranscribeTask, cancellation: Cancellation
    ) -> tuple[str, str, list[Segment]]:
        """Return text, language and segments, of windows that the detector's speech is gathered into."""
        num_samples_done = 0
        num_seconds = math.ceil(len(waveform) / SAMPLE_RATE)

        def check() -> None:
            cancellation.check(f"{num_samples_done // SAMPLE_RATE} of {num_seconds} seconds of audio were transcribed")

        probabilities = detector.probabilities(waveform, check)
        windows = deque(gather(find_speech(probabilities, len(waveform)), probabilities, len(waveform)))
        if not windows:
            return "", "und", []
        decoder = WindowDecoder(self._model, check)
        num_mels = self._model.dims.n_mels
        language = task.language or self._detect_language(decoder, LogMel(windows[0].sound(waveform), num_mels, check))
        tokenizer = self._tokenizer(language)
        segments: list[dict[str, Any]] = []
        while windows:
            num_samples_done = windows[0].start
            batch = [windows.popleft() for _ in range(min(decoder.max_windows, len(windows)))]
            mels = [_frames_of_window(LogMel(window.sound(waveform), num_mels, check), 0) for window in batch]
            results = decoder.decode_together(mels, language)
            rests = []
            for window, mel, result in zip(batch, mels, results, strict=True):
                if is_without_speech(result):
                    continue
                num_frames = window.num_samples // HOP_LENGTH
                said = _split_at_timestamps(result, tokenizer, 0, num_frames)
                rest = _rest(window, said, is_broken_off=len(result.tokens) >= self._model.dims.n_text_ctx // 2)
                if rest is not None:
                    rests.append(rest)
                elif said.unfinished is not None:
                    said.segments.append(said.unfinished)
                if task.word_timestamps:
                    decoder.add_word_timestamps(said.segments, tokenizer, mel, num_frames, last_speech_s=0.0)
                segments += [_in_recording(segment, window) for segment in _without_empty(said.segments)]
            windows.extendleft(reversed(rests))
        segments.sort(key=lambda segment: segment["start"])
        return _text(segments, tokenizer), language, [_as_segment(segment) for segment in segments]

    def _detect_language(self, decoder: WindowDecoder, spectrogram: LogMel) -> str:
        return decoder.detect_language(spectrogram.window(0)) if self._model.is_multilingual else "en"

    def _tokenizer(self, language: str) -> Tokenizer:
        return get_tokenizer(
            self._model.is_multilingual,
            num_languages=self._model.num_languages,
            language=language,
            task="transcribe",
        )


def load_engine(
    path: Path,
    precision: Precision,
    official_size: str | None = None,
    *,
    kernel: KernelChoice = "auto",
    speech_detection: bool = True,
) -> WhisperEngine:
    """Return the engine of an openai-whisper `.pt` checkpoint, warmed up, with or without a speech detector.

    `official_size` ("base") brings the attention heads that OpenAI chose for word times; otherwise they come from the
    later half of the layers, as in `whisper.load_model(path)`. Raises ModelNotLoaded if the file is no such checkpoint.
    """
    detector = SpeechDetector() if speech_detection else None
    try:
        model = load_whisper(path, precision, kernel=kernel)
        if official_size is not None:
            model.set_alignment_heads(whisper._ALIGNMENT_HEADS[official_size])
        engine = WhisperEngine(model, detector)
        engine.warm_up()
    except _BROKEN_CHECKPOINT as error:
        raise ModelNotLoaded(
            f"{path} is not a whole openai-whisper checkpoint ({type(error).__name__}). {RESTORE_ADVICE} Or name "
            "another .pt file in transcriber.model."
        ) from error
    return engine


def _frames_of_window(spectrogram: LogMel, seek: int) -> Tensor:
    """Return N_FRAMES frames, which are 0 where the sound has ended, as `whisper.transcribe` has them."""
    mel = spectrogram.window(seek)
    mel[:, max(spectrogram.num_frames - seek, 0) :] = 0
    return mel


class _Said(NamedTuple):
    """What a window's tokens tell."""

    segments: list[dict[str, Any]]
    unfinished: dict[str, Any] | None
    """Text after the last segment, whose end the model did not tell: as a segment up to the window's end."""
    next_seek: int
    """The frame where the next window starts, if it starts where this one ends."""
    is_open: bool
    """Whether speech may go on beyond the last segment."""


def _split_at_timestamps(result: DecodingResult, tokenizer: Tokenizer, seek: int, num_frames: int) -> _Said:
    """Return what is said in a window that begins at frame `seek`.

    Two timestamps in a row end one segment and begin the next; what follows the last such pair is left to the next
    window, which starts there. A single timestamp at the end says that nothing follows it in this window.
    """
    tokens = result.tokens
    offset_s = seek * HOP_LENGTH / SAMPLE_RATE
    positions = [token - tokenizer.timestamp_begin for token in tokens]

    suspect = suspect_reason(result)

    def segment(first: int, end: int, start_s: float, end_s: float) -> dict[str, Any]:
        text = tokenizer.decode([token for token in tokens[first:end] if token < tokenizer.eot])
        return {
            "seek": seek,
            "start": start_s,
            "end": end_s,
            "text": text,
            "tokens": tokens[first:end],
            "avg_logprob": result.avg_logprob,
            "suspect": suspect,
        }

    cuts = [i for i in range(1, len(tokens)) if positions[i - 1] >= 0 and positions[i] >= 0]
    is_open = not (len(tokens) >= 2 and positions[-2] < 0 <= positions[-1])
    duration_s = num_frames * HOP_LENGTH / SAMPLE_RATE
    if not cuts:
        timestamps = [position for position in positions if position >= 0]
        if timestamps and timestamps[-1] != 0:
            duration_s = timestamps[-1] * _SECONDS_PER_TOKEN
        return _Said([segment(0, len(tokens), offset_s, offset_s + duration_s)], None, seek + num_frames, is_open)
    if not is_open:
        cuts.append(len(tokens))
    segments = [
        segment(
            first,
            end,
            offset_s + positions[first] * _SECONDS_PER_TOKEN,
            offset_s + positions[end - 1] * _SECONDS_PER_TOKEN,
        )
        for first, end in pairwise([0, *cuts])
    ]
    if not is_open:
        return _Said(segments, None, seek + num_frames, is_open)
    last_s = positions[cuts[-1]] * _SECONDS_PER_TOKEN
    unfinished = segment(cuts[-1], len(tokens), offset_s + last_s, offset_s + max(last_s, duration_s))
    next_seek = seek + positions[cuts[-1] - 1] * _FRAMES_PER_TOKEN
    return _Said(segments, unfinished if unfinished["text"].strip() else None, next_seek, is_open)


def _rest(window: Window, said: _Said, *, is_broken_off: bool) -> Window | None:
    """Return what the model has left out of a window although the detector hears speech there, if any.

    A text that ran into the limit of tokens is `is_broken_off`.
    """
    if not said.is_open:
        # The model was sure that nothing follows: at times it does not listen any more after one of our cuts.
        return window.pieces_after(said.segments[-1]["end"])
    if said.unfinished is not None and not is_broken_off:
        return None
    return window.after(said.next_seek * HOP_LENGTH)


def _without_empty(segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [segment for segment in segments if segment["start"] != segment["end"] and segment["text"].strip()]


def _text(segments: list[dict[str, Any]], tokenizer: Tokenizer) -> str:
    text: str = tokenizer.decode([token for segment in segments for token in segment["tokens"]])
    return text.strip()


def _in_recording(segment: dict[str, Any], window: Window) -> dict[str, Any]:
    """Return a window's segment with its times and its words' made those of the recording."""
    words = segment.get("words", [])
    pieces = [window.piece_of(word["start"], word["end"]) for word in words]
    first, last = (pieces[0], pieces[-1]) if pieces else window.pieces_of(segment["start"], segment["end"])
    moved = {**segment, "words": []}
    moved["start"], moved["end"] = window.times_in_recording(segment["start"], segment["end"], first, last)
    for word, piece in zip(words, pieces, strict=True):
        start_s, end_s = window.times_in_recording(word["start"], word["end"], piece, piece)
        moved["words"].append({**word, "start": start_s, "end": end_s})
    return moved


def _as_segment(segment: dict[str, Any]) -> Segment:
    return Segment(
        start_s=float(segment["start"]),
        end_s=float(segment["end"]),
        text=segment["text"].strip(),
        confidence=math.exp(segment["avg_logprob"]),
        words=[
            Word(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
            for word in segment.get("words", [])
        ],
        suspect=segment["suspect"],
    )


def _mean_confidence(segments: list[Segment]) -> float:
    """Return the mean weighted by duration; 0.0 without segments."""
    total_s = sum(segment.end_s - segment.start_s for segment in segments)
    weighted = sum(segment.confidence * (segment.end_s - segment.start_s) for segment in segments)
    return weighted / total_s if total_s > 0 else 0.0


def _go_on() -> None:
    """Never stop."""
