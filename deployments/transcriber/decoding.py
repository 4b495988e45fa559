"""One request's use of a Whisper model that other threads use at the same time.

The package's decoding keeps state where threads meet: hooks on the modules of the model (its key-value cache, the
attention weights behind word times), torch's one random generator, and a class-wide switch. So every request works on
modules of its own, which share their weights with the model, draws from its own generator, and takes its turn for
word times.
"""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from whisper import DecodingOptions, DecodingResult, Whisper
from whisper.audio import N_FRAMES
from whisper.decoding import BeamSearchDecoder, DecodingTask, GreedyDecoder
from whisper.model import MultiHeadAttention, ResidualAttentionBlock
from whisper.timing import add_word_timestamps, dtw_cpu
from whisper.tokenizer import Tokenizer

from deployments.inference.jit import call_cached, numba_lock
from deployments.transcriber.int8 import Int8Inference, Int8TextDecoder
from deployments.transcriber.types import SuspectReason

# The defaults of `whisper.transcribe`.
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_COMPRESSION_RATIO_THRESHOLD = 2.4
_LOGPROB_THRESHOLD = -1.0
_NO_SPEECH_THRESHOLD = 0.6

_SEED = 0

_BATCH_BYTES = 150_000_000
"""What windows that are decoded together may take: in int8 seven of base, three of small, one of medium."""
_MOST_ROWS = 8
"""Of four minutes: a deadline tells of finished windows only. Up to 32 a window's numbers in int8 do not depend on the
others, bit for bit."""

# Word times flip the package's switch for all threads and run a numba kernel that two threads must not enter at once.
_word_times_turn = threading.Lock()


def prepare_word_times() -> None:
    """Compile the kernel behind word times, or load it from the kernel cache: compiling takes two seconds."""
    call_cached(dtw_cpu, "word_times", np.zeros((2, 2)))


class WindowDecoder:
    """Decodes the windows of one recording, one after another or together, with the rules of `whisper.transcribe`.

    `check` is called before each layer of the model; what it raises ends the work and leaves the model untouched.
    """

    def __init__(self, model: Whisper, check: Callable[[], None]) -> None:
        """Decode with a model in fp32, or in int8 if `quantize_weights` has made it so."""
        self._shared = model
        self._is_int8 = isinstance(model.decoder, Int8TextDecoder)
        self._check = check
        self._model = _with_own_modules(model, check)
        for module in self._model.modules():
            if isinstance(module, MultiHeadAttention):
                module.__class__ = _FusedAttention
        self._generator = torch.Generator().manual_seed(_SEED)

    @property
    def max_windows(self) -> int:
        """How many windows may be decoded together: so many that all they take at once stays in _BATCH_BYTES.

        Features are counted twice, since those of windows that are tried again are copied; logits four times, since the
        rules for timestamps and the log probabilities copy them.
        """
        dims = self._model.dims
        position_bytes = dims.n_text_state + 4 * dims.n_text_head if self._is_int8 else 4 * dims.n_text_state
        keys_and_values = 2 * dims.n_text_layer * (dims.n_audio_ctx + dims.n_text_ctx) * position_bytes
        features = 4 * dims.n_audio_ctx * dims.n_audio_state
        spectrogram, logits = 4 * dims.n_mels * N_FRAMES, 4 * dims.n_vocab
        affordable: int = _BATCH_BYTES // (keys_and_values + spectrogram + 2 * features + 4 * logits)
        return max(1, min(affordable, _MOST_ROWS))

    @torch.no_grad()
    def detect_language(self, mel: Tensor) -> str:
        """Return the code of the most probable language of a window, shape (num_mels, N_FRAMES)."""
        _, probabilities = self._model.detect_language(mel)
        return str(max(probabilities, key=probabilities.get))

    @torch.no_grad()
    def decode(self, mel: Tensor, language: str, sample_len: int | None = None) -> DecodingResult:
        """Return at most `sample_len` tokens for a window, shape (num_mels, N_FRAMES); None means half the context.

        A poor result is tried again, each time less greedily.
        """
        return self._decode(self._model.encoder(mel[None]), [self._generator], language, sample_len)[0]

    @torch.no_grad()
    def decode_together(self, mels: Sequence[Tensor], language: str) -> list[DecodingResult]:
        """Return what `decode` returns for each of several windows, whatever the others are.

        At most `max_windows`, so that memory stays small. In int8 each answer is bit for bit the same as alone where
        the CPU has VNNI; else, and in fp32, a number's last bits differ with how many there are.
        """
        features = torch.cat([self._model.encoder(mel[None]) for mel in mels])
        return self._decode(features, [torch.Generator().manual_seed(_SEED) for _ in mels], language, None)

    def _decode(
        self, features: Tensor, generators: Sequence[torch.Generator], language: str, sample_len: int | None
    ) -> list[DecodingResult]:
        """Decode windows of which each draws from a generator of its own; the poor ones are tried again together."""
        results: list[DecodingResult | None] = [None] * len(features)
        poor = list(range(len(features)))
        for temperature in _TEMPERATURES:
            options = DecodingOptions(language=language, temperature=temperature, sample_len=sample_len, fp16=False)
            task = self.task(options)
            if temperature > 0:
                task.decoder = _SeededDecoder(temperature, task.tokenizer.eot, [generators[i] for i in poor])
            for i, result in zip(poor, task.run(features[poor]), strict=True):
                results[i] = result
            poor = [i for i in poor if _is_poor(results[i])]
            if not poor:
                break
        return results

    def task(self, options: DecodingOptions) -> DecodingTask:
        """Return a task of the package for windows, in the precision of this decoder."""
        task = DecodingTask(self._model, options)
        if self._is_int8:
            task.inference = Int8Inference(self._model, self._check)
            if isinstance(task.decoder, BeamSearchDecoder):
                task.decoder.inference = task.inference
        return task

    def add_word_timestamps(
        self, segments: list[dict[str, Any]], tokenizer: Tokenizer, mel: Tensor, num_frames: int, last_speech_s: float
    ) -> None:
        """Add `words` to the segments of a window and move the segments' ends to those of their words."""
        with self._turn(), numba_lock(), _as_many_threads_as_before():
            add_word_timestamps(
                segments=segments,
                model=_with_own_modules(self._shared, self._check),
                tokenizer=tokenizer,
                mel=mel,
                num_frames=num_frames,
                last_speech_timestamp=last_speech_s,
            )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        while not _word_times_turn.acquire(timeout=0.05):
            self._check()
        try:
            yield
        finally:
            _word_times_turn.release()


@contextmanager
def _as_many_threads_as_before() -> Iterator[None]:
    """Word times run a numba kernel, whose first call gives this thread as many of torch's as the machine has."""
    num_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _is_poor(result: DecodingResult) -> bool:
    is_improbable = result.avg_logprob < _LOGPROB_THRESHOLD
    is_repetitive = result.compression_ratio > _COMPRESSION_RATIO_THRESHOLD
    is_silence = is_improbable and result.no_speech_prob > _NO_SPEECH_THRESHOLD
    return bool((is_improbable or is_repetitive) and not is_silence)


def suspect_reason(result: DecodingResult) -> SuspectReason | None:
    """Return which of the thresholds of `whisper.transcribe` a window's text is beyond, at whatever temperature."""
    if result.compression_ratio > _COMPRESSION_RATIO_THRESHOLD:
        return "repetition"
    if result.no_speech_prob > _NO_SPEECH_THRESHOLD:
        return "no_speech"
    return "low_probability" if result.avg_logprob < _LOGPROB_THRESHOLD else None


def is_without_speech(result: DecodingResult) -> bool:
    """Tell whether a window is to be left out, by the rule of `whisper.transcribe`."""
    return bool(result.no_speech_prob > _NO_SPEECH_THRESHOLD and result.avg_logprob <= _LOGPROB_THRESHOLD)


def _with_own_modules(model: Whisper, check: Callable[[], None]) -> Whisper:
    """Return a copy of the model's modules over the same weights, on which hooks concern nobody else."""
    weights = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    own = copy.deepcopy(model, weights)
    for module in own.modules():
        if isinstance(module, ResidualAttentionBlock):
            module.register_forward_pre_hook(lambda *_: check())
    return own


class _FusedAttention(MultiHeadAttention):  # type: ignore[misc]
    """The package's attention as it is while its switch `use_sdpa` is on, wherever another thread has put it."""

    def qkv_attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Take and return shape (batch, length, width)."""
        q, k, v = (x.view(*x.shape[:2], self.n_head, -1).permute(0, 2, 1, 3) for x in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=mask is not None and q.shape[2] > 1)
        return attended.permute(0, 2, 1, 3).flatten(start_dim=2), None


class _SeededDecoder(GreedyDecoder):  # type: ignore[misc]
    """Samples as GreedyDecoder does at a temperature above 0, each row from a generator of its own."""

    def __init__(self, temperature: float, eot: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__(temperature, eot)
        self._generators = generators

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, Tensor]:
        """Append one token to each row of `tokens`, shape (rows, length), and add up its log probability."""
        sampled = torch.full((len(tokens), 1), self.eot)
        for row, generator in enumerate(self._generators):
            # A row that has ended draws no more: what its window draws later would depend on how long others take.
            if tokens[row, -1] != self.eot:
                sampled[row] = self._draw(logits[row : row + 1], generator)
                sum_logprobs[row] += logits[row].log_softmax(dim=-1)[sampled[row, 0]]
        return torch.cat([tokens, sampled], dim=-1), (sampled == self.eot).all()

    def _draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Return a token, shape (1, 1), for logits of shape (1, vocabulary): torch adds up one row unlike several."""
        probabilities = torch.distributions.Categorical(logits=logits / self.temperature).probs
        return torch.multinomial(probabilities, 1, replacement=True, generator=generator)
