"""Transcription with openai-whisper's model, tokenizer and decoding rules."""

import math
import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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
from deployments.transcriber.checkpoint import load_whisper
from deployments.transcriber.decoding import (
    EncodedWindow,
    WindowDecoder,
    compile_word_timestamps,
    is_no_speech,
    suspect_reason,
)
from deployments.transcriber.languages import LANGUAGES
from deployments.transcriber.mel import LogMel
from deployments.transcriber.segments import (
    FinalSegments,
    SendSegments,
    as_segment,
    end_at_pauses,
    in_order,
    mean_confidence,
)
from deployments.transcriber.settings import WhisperPrecision
from deployments.transcriber.types import UNDETERMINED, TranscribeTask, Transcript, TranscriptSegment
from deployments.transcriber.voice_activity import (
    SpeechProbabilities,
    VoiceActivityDetector,
    find_speech,
    speech_gain,
)
from deployments.transcriber.window_languages import WindowLanguages, likeliest, most_spoken_language
from deployments.transcriber.windows import Window, pack_into_windows

_FRAMES_PER_TOKEN = FRAMES_PER_SECOND // TOKENS_PER_SECOND
_SECONDS_PER_TOKEN = _FRAMES_PER_TOKEN * HOP_LENGTH / SAMPLE_RATE

_MIN_PROGRESS_S = 1.0
"""A text that ends sooner is no reason to decode the rest of its window, or a few words could do so again and again."""
_MAX_WORD_S = 1.5
"""A longer word is taken to be over then: the alignment gives it the time of the speech that is missing in the text."""
_MIN_CERTAINTY = 0.6
"""Speech has a higher mean of its speech probabilities: of 260 recordings of words and sentences, also whispered, by
telephone and in noise at 0 dB, all but one word had 0.7 or more. Four of 223 recordings without speech, in which the
detector finds some, had 0.33 to 0.47."""
_MIN_LOGPROB_OF_LITTLE_SPEECH = -1.2
_MIN_LOGPROB_OF_UNCERTAIN_SPEECH = -0.8
"""Where the detector found less than two seconds of speech, or is less certain, the text must be more probable. Of 58
spoken digits, two had -1.03 and -1.09, the others more than -1, and the one of which the detector was not certain
-0.74. What Whisper base makes of 18 animals and instruments had -1.06 to -2.7, and of a donkey -0.88; of the donkey and
some others the detector was not certain."""
_MIN_LOGPROB_OF_SECOND_LOOK = -1.2
"""The same for a part of a window in whose text it is missing. Three sentences that Whisper base left out had -1.13 to
-0.99, with more than half of their words right."""

_INVALID_CHECKPOINT_ERRORS = (
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
"""What torch and whisper raise for files that are not checkpoints, or whose dimensions make no sense."""


class WhisperEngine:
    """A Whisper model on the CPU; several threads may transcribe at once.

    Without a detector, the results in fp32 are those of `whisper.transcribe(model, waveform,
    condition_on_previous_text=False, fp16=False)`, except that texts are stripped and empty segments dropped. A prompt
    is its `initial_prompt` with `carry_initial_prompt=True`, and a beam size of more than 1 its `beam_size`. The text
    of the previous window is not used as a prompt, because errors would propagate from window to window, often as
    endless repetition.

    With a voice activity detector, the model gets only the parts of the recording that have speech, packed into windows
    that are decoded in batches, independently of each other. Each window is treated as `whisper.transcribe` treats a
    whole recording; for example, its spectrogram is clamped relative to its own maximum. All times are those of the
    recording.
    """

    def __init__(self, model: Whisper, detector: VoiceActivityDetector | None = None, *, beam_size: int = 1) -> None:
        self._model = model
        self._beam_size = beam_size
        self._detector = detector
        self._languages = LANGUAGES[: model.num_languages] if model.is_multilingual else ("en",)

    @property
    def weight_bytes(self) -> int:
        return weight_bytes(self._model)

    def warm_up(self) -> None:
        """Run everything once that is compiled or initialized at its first use, so that no request waits for it."""
        silence = np.zeros(SAMPLE_RATE, np.float32)
        if self._detector is not None:
            self._detector.probabilities(silence, _never_cancel)
        mel = LogMel(silence, self._model.dims.n_mels, _never_cancel).window(0)
        decoder = WindowDecoder(self._model, _never_cancel, beam_size=self._beam_size)
        decoder.decode(decoder.encode(mel), "en", sample_len=2)
        compile_word_timestamps()

    def transcribe(
        self,
        waveform: Waveform,
        task: TranscribeTask,
        cancellation: Cancellation,
        send: SendSegments | None = None,
    ) -> Transcript:
        """Return what is said in a recording; the same waveform always gives the same transcript.

        `send` gets its segments as soon as they are final. The first windows are then decoded in smaller batches.
        A recording that is silent throughout (see SILENCE_PEAK) is not given to the model, which would hallucinate.
        Raises InvalidRequest for a language that the model does not know, a translation by a model for English only and
        a prompt that is too long, and what `cancellation.check` raises, at the latest after one layer of the model.
        """
        if task.language is not None and task.language not in self._languages:
            raise InvalidRequest(
                f"The loaded model does not know the language {task.language!r}; use 'auto' or one of: "
                f"{', '.join(self._languages)}."
            )
        if task.translate and not self._model.is_multilingual:
            raise InvalidRequest("The loaded model knows English only; leave out 'translate'.")
        prompt = self._prompt_tokens(task.prompt)
        duration_s = len(waveform) / SAMPLE_RATE
        if is_silent(waveform):
            return Transcript.empty(task.language, duration_s)
        final = None if send is None else FinalSegments(send, with_words=task.word_timestamps)
        if self._detector is None:
            text, language, segments = self._transcribe_all(waveform, task, prompt, cancellation, final)
        else:
            text, language, segments = self._transcribe_speech(
                self._detector, waveform, task, prompt, cancellation, final
            )
        if not segments:
            language = task.language or UNDETERMINED
        return Transcript(text, language, mean_confidence(segments), segments, duration_s)

    def _prompt_tokens(self, prompt: str) -> list[int]:
        if not prompt.strip():
            return []
        tokenizer = self._tokenizer("en", TranscribeTask())
        # "<|endoftext|>" in a prompt is text, not a special token.
        tokens: list[int] = tokenizer.encode(f" {prompt.strip()}", disallowed_special=())
        # So many leave room for the longest text of a window; the one more is <|startofprev|>.
        dims = self._model.dims
        max_tokens = dims.n_text_ctx - dims.n_text_ctx // 2 - len(tokenizer.sot_sequence) - 1
        if len(tokens) > max_tokens:
            raise InvalidRequest(
                f"'prompt' and 'hotwords' have {len(tokens)} tokens together; the model takes {max_tokens}. Shorten "
                "them."
            )
        return tokens

    def _transcribe_all(
        self,
        waveform: Waveform,
        task: TranscribeTask,
        prompt: Sequence[int],
        cancellation: Cancellation,
        final: FinalSegments | None,
    ) -> tuple[str, str, list[TranscriptSegment]]:
        """Return text, language and segments of the whole waveform, decoded window by window.

        As in `whisper.transcribe`, each window starts at the last timestamp of the one before; `seek` is its first
        frame.
        """
        seek = 0
        num_seconds = math.ceil(len(waveform) / SAMPLE_RATE)

        def check() -> None:
            cancellation.check(f"{seek // FRAMES_PER_SECOND} of {num_seconds} seconds of audio were transcribed")

        spectrogram = LogMel(waveform, self._model.dims.n_mels, check)
        decoder = self._decoder(task, prompt, check)
        language = task.language or self._detect_language(decoder, spectrogram)
        tokenizer = self._tokenizer(language, task)
        last_speech_s = 0.0
        segments: list[dict[str, Any]] = []
        while seek < spectrogram.num_frames:
            num_frames = min(N_FRAMES, spectrogram.num_frames - seek)
            mel = _zero_padded_window(spectrogram, seek)
            result = decoder.decode(decoder.encode(mel), language)
            if is_no_speech(result):
                seek += num_frames
                continue
            parsed = _parse_timestamps(result, tokenizer, seek, num_frames)
            next_seek = parsed.next_seek
            if task.word_timestamps:
                decoder.add_word_timestamps(parsed.segments, tokenizer, mel, num_frames, last_speech_s)
                last_speech_s = get_end(parsed.segments)
                if parsed.may_continue and last_speech_s > seek * HOP_LENGTH / SAMPLE_RATE:
                    next_seek = round(last_speech_s * FRAMES_PER_SECOND)
            segments += _without_empty(parsed.segments)
            seek = next_seek
            if final is not None:
                final.update(segments, seek / FRAMES_PER_SECOND)
        return _text(segments, tokenizer), language, in_order([as_segment(segment) for segment in segments])

    def _transcribe_speech(
        self,
        detector: VoiceActivityDetector,
        waveform: Waveform,
        task: TranscribeTask,
        prompt: Sequence[int],
        cancellation: Cancellation,
        final: FinalSegments | None,
    ) -> tuple[str, str, list[TranscriptSegment]]:
        """Return text, language and segments of the parts of the waveform in which the detector finds speech."""
        num_samples_done = 0
        num_seconds = math.ceil(len(waveform) / SAMPLE_RATE)

        def check() -> None:
            cancellation.check(f"{num_samples_done // SAMPLE_RATE} of {num_seconds} seconds of audio were transcribed")

        gain = speech_gain(waveform)
        probabilities = detector.probabilities(waveform, check, gain=gain, is_start_repeated=True)
        speech = find_speech(probabilities, len(waveform))
        windows = deque(pack_into_windows(speech, probabilities, len(waveform)))
        if not windows:
            return "", UNDETERMINED, []
        decoder = self._decoder(task, prompt, check)

        def encode(window: Window) -> EncodedWindow:
            spectrogram = LogMel(window.extract(waveform, gain), self._model.dims.n_mels, check)
            return decoder.encode(_zero_padded_window(spectrogram, 0))

        encoded: dict[Window, EncodedWindow] = {}

        def detect(window: Window) -> Mapping[str, float]:
            return decoder.language_probabilities([encoded.get(window) or encode(window)])[0]

        main_language = task.language if self._model.is_multilingual else "en"
        is_known = main_language is not None
        if main_language is None:
            first = next((one for one in windows if not one.has_little_speech), windows[0])
            encoded[first] = encode(first)
            main_language = likeliest(detect(first))
        languages = WindowLanguages(main_language, None if is_known else detect)
        segments: list[dict[str, Any]] = []
        batch_size = decoder.max_batch_size if final is None else 1
        while windows:
            num_samples_done = max(num_samples_done, windows[0].start)
            batch: list[Window] = []
            while windows and len(batch) < batch_size:
                window = windows.popleft()
                if window not in encoded:
                    encoded[window] = encode(window)
                parts = languages.divide(window)
                if parts == [window]:
                    batch.append(window)
                else:
                    del encoded[window]
                    windows.extendleft(reversed(parts))
            batch_size = min(2 * batch_size, decoder.max_batch_size)
            results = decoder.decode_batch(
                [encoded[window] for window in batch], [languages.of(window) for window in batch]
            )
            # The decoder's caches go here: word timestamps take as much memory.
            decoded = [
                _Decoded(window, encoded.pop(window).mel, result) for window, result in zip(batch, results, strict=True)
            ]
            remainders = []
            for one in decoded:
                if is_no_speech(one.result) or not _is_credible(one.window, one.result, probabilities):
                    continue
                transcribed, untranscribed = self._segments(one, decoder, self._tokenizer(one.result.language, task))
                languages.set(untranscribed, one.result.language)
                remainders += untranscribed
                transcribed = [_to_recording_times(segment, one.window) for segment in _without_empty(transcribed)]
                starts_s = [window.speech[0].start / SAMPLE_RATE for window in untranscribed]
                segments += end_at_pauses(transcribed, one.window.speech, starts_s)
            windows.extendleft(reversed(remainders))
            if final is not None:
                until = min((window.start for window in windows), default=len(waveform))
                final.update(segments, until / SAMPLE_RATE if windows else math.inf)
        segments.sort(key=lambda segment: segment["start"])
        ordered = in_order([as_segment(segment) for segment in segments])
        if not task.word_timestamps:
            ordered = [replace(segment, words=[]) for segment in ordered]
        return _text(segments, self._tokenizer("en", task)), most_spoken_language(ordered, languages.main), ordered

    def _segments(
        self, decoded: "_Decoded", decoder: WindowDecoder, tokenizer: Tokenizer
    ) -> tuple[list[dict[str, Any]], list[Window]]:
        """Return the segments of a window, with words, and the parts of it whose speech is not in them.

        Times are those of the window. The times of words show where text is missing: the model may leave out a sentence
        although its timestamps have no gap, or stop before the speech does.
        """
        window, mel, result = decoded
        num_frames = window.num_samples // HOP_LENGTH
        parsed = _parse_timestamps(result, tokenizer, 0, num_frames)
        segments = parsed.segments
        hit_token_limit = len(result.tokens) >= self._model.dims.n_text_ctx // 2
        if parsed.unfinished is not None and not hit_token_limit:
            segments = [*segments, parsed.unfinished]
        is_open = parsed.is_open and (parsed.unfinished is None or not hit_token_limit)
        last_timestamp_s = segments[-1]["end"]
        decoder.add_word_timestamps(
            segments, tokenizer, mel, num_frames, last_speech_s=0.0, features=result.audio_features
        )
        end_s = get_end(segments)
        missed: Window | None = None
        if is_open:
            # No timestamp says where the text ends.
            segments[-1]["end"] = max(segments[-1]["start"], end_s)
            remainder = window.remainder_after(round(end_s * SAMPLE_RATE)) if end_s >= _MIN_PROGRESS_S else None
        elif parsed.may_continue:
            remainder = window.remainder_after(parsed.next_seek * HOP_LENGTH)
        else:
            remainder = window.chunks_after(last_timestamp_s)
            end_s = max(end_s, last_timestamp_s)
            if remainder is None and not window.is_second_look:
                missed = window.second_look(end_s, num_frames * HOP_LENGTH / SAMPLE_RATE) or window.missed_after(end_s)
        parts = [missed, remainder]
        if not window.is_second_look:
            words = [word for segment in segments for word in segment["words"]]
            ends = [min(word["end"], word["start"] + _MAX_WORD_S) for word in words]
            parts[:0] = [window.second_look(end, word["start"]) for end, word in zip(ends, words[1:], strict=False)]
        return segments, [part for part in parts if part is not None]

    def _detect_language(self, decoder: WindowDecoder, spectrogram: LogMel) -> str:
        if not self._model.is_multilingual:
            return "en"
        [probabilities] = decoder.language_probabilities([decoder.encode(spectrogram.window(0))])
        return likeliest(probabilities)

    def _decoder(self, task: TranscribeTask, prompt: Sequence[int], check: Callable[[], None]) -> WindowDecoder:
        return WindowDecoder(self._model, check, translate=task.translate, prompt=prompt, beam_size=self._beam_size)

    def _tokenizer(self, language: str, task: TranscribeTask) -> Tokenizer:
        return get_tokenizer(
            self._model.is_multilingual,
            num_languages=self._model.num_languages,
            language=language,
            task="translate" if task.translate else "transcribe",
        )


def load_engine(
    path: Path,
    precision: WhisperPrecision,
    *,
    kernel: KernelChoice = "auto",
    speech_detection: bool = True,
    beam_size: int = 1,
) -> WhisperEngine:
    """Return the engine for an openai-whisper `.pt` checkpoint, warmed up, with or without voice activity detection.

    Raises ModelNotLoaded if the file is not such a checkpoint, or if this CPU lacks the int8 kernel.
    """
    detector = VoiceActivityDetector() if speech_detection else None
    try:
        engine = WhisperEngine(load_whisper(path, precision, kernel), detector, beam_size=beam_size)
        engine.warm_up()
    except _INVALID_CHECKPOINT_ERRORS as error:
        raise ModelNotLoaded(
            f"{path} is not a complete openai-whisper checkpoint ({type(error).__name__}). {RESTORE_ADVICE} Or name "
            "another .pt file in transcriber.model."
        ) from error
    return engine


def _zero_padded_window(spectrogram: LogMel, seek: int) -> Tensor:
    """Return N_FRAMES frames from frame `seek` on, set to 0 after the end of the audio as in `whisper.transcribe`."""
    mel = spectrogram.window(seek)
    mel[:, max(spectrogram.num_frames - seek, 0) :] = 0
    return mel


class _Decoded(NamedTuple):
    """A window, its spectrogram of shape (num_mels, N_FRAMES), and what the model makes of it."""

    window: Window
    mel: Tensor
    result: DecodingResult


class _ParsedWindow(NamedTuple):
    """The segments in a window's tokens, as dicts like those of `whisper.transcribe`."""

    segments: list[dict[str, Any]]
    unfinished: dict[str, Any] | None
    """The text after the last complete segment, to which the model gave no end timestamp, as a segment up to the end of
    the window."""
    next_seek: int
    """First frame of the next window, if windows follow each other without gaps."""
    may_continue: bool
    """Whether there may be more speech after the last segment."""
    is_open: bool
    """Whether the text goes on after the last timestamp."""


def _parse_timestamps(result: DecodingResult, tokenizer: Tokenizer, seek: int, num_frames: int) -> _ParsedWindow:
    """Split the tokens of a window that starts at frame `seek` into segments, by the rules of `whisper.transcribe`.

    Two timestamps in a row end one segment and start the next. Text after the last such pair is left to the next
    window, which starts there. A single timestamp at the end means that the window has no more speech.
    """
    tokens = result.tokens
    offset_s = seek * HOP_LENGTH / SAMPLE_RATE
    # In steps of _SECONDS_PER_TOKEN; negative for text tokens.
    timestamps = [token - tokenizer.timestamp_begin for token in tokens]
    suspect = suspect_reason(result)

    def segment(first: int, end: int, start_s: float, end_s: float) -> dict[str, Any]:
        text = tokenizer.decode([token for token in tokens[first:end] if token < tokenizer.eot])
        return {
            "seek": seek,
            "language": result.language,
            "start": start_s,
            "end": end_s,
            "text": text,
            "tokens": tokens[first:end],
            "avg_logprob": result.avg_logprob,
            "temperature": result.temperature,
            "compression_ratio": result.compression_ratio,
            "no_speech_prob": result.no_speech_prob,
            "suspect": suspect,
        }

    cuts = [i for i in range(1, len(tokens)) if timestamps[i - 1] >= 0 and timestamps[i] >= 0]
    may_continue = not (len(tokens) >= 2 and timestamps[-2] < 0 <= timestamps[-1])
    duration_s = num_frames * HOP_LENGTH / SAMPLE_RATE
    if not cuts:
        last_timestamp = next((timestamp for timestamp in reversed(timestamps) if timestamp >= 0), 0)
        if last_timestamp > 0:
            duration_s = last_timestamp * _SECONDS_PER_TOKEN
        whole_window = segment(0, len(tokens), offset_s, offset_s + duration_s)
        return _ParsedWindow([whole_window], None, seek + num_frames, may_continue, may_continue)
    if not may_continue:
        cuts.append(len(tokens))
    segments = [
        segment(
            first,
            end,
            offset_s + timestamps[first] * _SECONDS_PER_TOKEN,
            offset_s + timestamps[end - 1] * _SECONDS_PER_TOKEN,
        )
        for first, end in pairwise([0, *cuts])
    ]
    if not may_continue:
        return _ParsedWindow(segments, None, seek + num_frames, may_continue, is_open=False)
    last_s = timestamps[cuts[-1]] * _SECONDS_PER_TOKEN
    unfinished = segment(cuts[-1], len(tokens), offset_s + last_s, offset_s + max(last_s, duration_s))
    next_seek = seek + timestamps[cuts[-1] - 1] * _FRAMES_PER_TOKEN
    if not unfinished["text"].strip():
        return _ParsedWindow(segments, None, next_seek, may_continue, is_open=False)
    return _ParsedWindow(segments, unfinished, next_seek, may_continue, is_open=True)


def _is_credible(window: Window, result: DecodingResult, probabilities: SpeechProbabilities) -> bool:
    """Return whether the text of a window counts.

    It must be more probable where the detector found hardly any speech or is uncertain, and where the model found none
    at first.
    """
    is_certain = window.mean_probability(probabilities) >= _MIN_CERTAINTY
    if not is_certain:
        min_logprob = _MIN_LOGPROB_OF_UNCERTAIN_SPEECH
    elif window.is_second_look:
        min_logprob = _MIN_LOGPROB_OF_SECOND_LOOK
    elif window.has_little_speech:
        min_logprob = _MIN_LOGPROB_OF_LITTLE_SPEECH
    else:
        return True
    return result.avg_logprob > min_logprob and suspect_reason(result) not in ("repetition", "no_speech")


def _without_empty(segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [segment for segment in segments if segment["start"] != segment["end"] and segment["text"].strip()]


def _text(segments: list[dict[str, Any]], tokenizer: Tokenizer) -> str:
    text: str = tokenizer.decode([token for segment in segments for token in segment["tokens"]])
    return text.strip()


def _to_recording_times(segment: dict[str, Any], window: Window) -> dict[str, Any]:
    """Return a copy of a window's segment whose times, and its words' times, are those of the recording."""
    words = segment.get("words", [])
    chunks = [window.chunk_index(word["start"], word["end"]) for word in words]
    first, last = (chunks[0], chunks[-1]) if chunks else window.chunk_range(segment["start"], segment["end"])
    mapped = {**segment, "words": [], "seek": segment["seek"] + window.start // HOP_LENGTH}
    mapped["start"], mapped["end"] = window.times_in_recording(segment["start"], segment["end"], first, last)
    for word, chunk in zip(words, chunks, strict=True):
        start_s, end_s = window.times_in_recording(word["start"], word["end"], chunk, chunk)
        mapped["words"].append({**word, "start": start_s, "end": end_s})
    return mapped


def _never_cancel() -> None:
    """A `check` for work that cannot be cancelled."""
