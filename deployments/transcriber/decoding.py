"""Decodes windows with openai-whisper, safely in several threads that share one model.

The package keeps state that threads would share: hooks on the model's modules (KV cache, cross-attention weights for
word timestamps), torch's global random generator, and the class attribute `MultiHeadAttention.use_sdpa`. So each
request has its own modules over the shared weights and its own random generator, and a lock guards word timestamps.
"""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper import DecodingOptions, DecodingResult, Whisper
from whisper.audio import N_FRAMES
from whisper.model import MultiHeadAttention, ResidualAttentionBlock
from whisper.timing import add_word_timestamps, dtw_cpu
from whisper.tokenizer import Tokenizer

from deployments.inference.jit import call_cached, numba_lock
from deployments.inference.kv_cache import Int8Cache
from deployments.transcriber.batch_decoding import BatchDecodingTask, BeamSearch, Greedy, Sampling
from deployments.transcriber.int8 import Int8Inference, Int8TextDecoder, cross_attn_cache
from deployments.transcriber.types import SuspectReason

# The defaults of `whisper.transcribe`.
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_COMPRESSION_RATIO_THRESHOLD = 2.4
_LOGPROB_THRESHOLD = -1.0
_NO_SPEECH_THRESHOLD = 0.6

_SEED = 0

_MAX_BATCH_BYTES = 100_000_000
"""Memory for one batch of windows, unless it is a single one: in int8 and with a beam of three, enough for three
windows of base or one of small."""
_MAX_BATCH_SIZE = 8
"""Windows, four minutes in all. Progress counts finished batches only, so larger ones would make it coarse."""
_MAX_SEQUENCES = 32
"""In int8, results do not depend on the batch, bit for bit, up to so many sequences."""

_word_timestamps_lock = threading.Lock()
"""The package's word timestamps switch `use_sdpa` off for all threads, and run a numba kernel that is not thread-safe.
"""


def compile_word_timestamps() -> None:
    """Compile the numba kernel of word timestamps (dynamic time warping), unless an earlier start has cached it.

    Compiling takes two seconds.
    """
    call_cached(dtw_cpu, "word_timestamps", np.zeros((2, 2)))


@dataclass
class EncodedWindow:
    """A window as the model hears it."""

    mel: Tensor
    """Its spectrogram, shape (num_mels, N_FRAMES)."""
    features: Tensor
    """The encoder's output, shape (n_audio_ctx, n_audio_state)."""
    cross_attn: Int8Cache | None = None
    """In int8 the cross-attention's keys and values of the features in all layers, from the first decoding on."""


def _features(windows: Sequence[EncodedWindow]) -> Tensor:
    return torch.stack([window.features for window in windows])


class WindowDecoder:
    """Decodes the windows of one recording, one by one or in batches, with the rules of `whisper.transcribe`.

    `check` is called before each layer of the model; what it raises ends the work and leaves the model unchanged.
    """

    def __init__(
        self,
        model: Whisper,
        check: Callable[[], None],
        *,
        translate: bool = False,
        prompt: Sequence[int] = (),
        beam_size: int = 1,
    ) -> None:
        """Take a model in fp32, or in int8 after `quantize`.

        `prompt` are tokens before the text of each window. At temperature 0 the best of `beam_size` texts counts.
        """
        self._beam_size = beam_size
        self._task = "translate" if translate else "transcribe"
        self._prompt = list(prompt) or None
        self._shared_model = model
        self._is_int8 = isinstance(model.decoder, Int8TextDecoder)
        self._check = check
        self._model = _with_private_modules(model, check)
        for module in self._model.modules():
            if type(module) is MultiHeadAttention:
                module.__class__ = _SdpaAttention
        self._generator = torch.Generator().manual_seed(_SEED)
        """For `decode`; its state goes on from window to window."""

    @property
    def max_batch_size(self) -> int:
        """The most windows that may be decoded in one batch, so that it fits into _MAX_BATCH_BYTES; at least 1.

        Audio features count twice, because those of windows that are decoded again are copied. Logits count four times,
        because the timestamp rules and the log probabilities copy them.
        """
        dims = self._model.dims
        if self._beam_size > 1 and not self._is_int8:
            return 1  # The package's own inference has no beam search for several windows.
        bytes_per_vector = dims.n_text_state + 4 * dims.n_text_head if self._is_int8 else 4 * dims.n_text_state
        bytes_per_position = 2 * dims.n_text_layer * bytes_per_vector
        features = 4 * dims.n_audio_ctx * dims.n_audio_state
        spectrogram, logits = 4 * dims.n_mels * N_FRAMES, 4 * dims.n_vocab
        per_window = bytes_per_position * dims.n_audio_ctx + spectrogram + 2 * features
        per_text = bytes_per_position * dims.n_text_ctx + 4 * logits
        affordable: int = _MAX_BATCH_BYTES // (per_window + self._beam_size * per_text)
        return max(1, min(affordable, _MAX_BATCH_SIZE, _MAX_SEQUENCES // self._beam_size))

    @torch.no_grad()
    def encode(self, mel: Tensor) -> EncodedWindow:
        """Return a window with the encoder's output, given its spectrogram, shape (num_mels, N_FRAMES)."""
        [features] = self._model.encoder(mel[None])
        return EncodedWindow(mel, features)

    @torch.no_grad()
    def language_probabilities(self, windows: Sequence[EncodedWindow]) -> list[dict[str, float]]:
        """Return the probability of each language that the model knows, by its code, for each window."""
        options = DecodingOptions(fp16=False)
        task = self.decoding_task(options, windows)
        tokenizer = task.tokenizer
        try:
            logits = task.inference.logits(torch.tensor([[tokenizer.sot]] * len(windows)), _features(windows))[:, 0]
        finally:
            task.inference.cleanup_caching()
        probabilities = logits[:, list(tokenizer.all_language_tokens)].softmax(dim=-1).tolist()
        return [dict(zip(tokenizer.all_language_codes, row, strict=True)) for row in probabilities]

    @torch.no_grad()
    def decode(self, window: EncodedWindow, language: str, sample_len: int | None = None) -> DecodingResult:
        """Decode one window as `whisper.transcribe` does.

        The result has at most `sample_len` tokens, by default half the text context. An improbable or repetitive result
        is decoded again at higher and higher temperatures.
        """
        return self._decode([window], [self._generator], [language], sample_len, _last)[0]

    @torch.no_grad()
    def decode_batch(self, windows: Sequence[EncodedWindow], languages: Sequence[str]) -> list[DecodingResult]:
        """Decode up to `max_batch_size` windows at once, each in its language and with its own random generator.

        Where no temperature gives an acceptable text, the best one counts. (`whisper.transcribe` takes the last, which
        is mostly invented: a text at temperature 1 is hardly ever more probable than that at 0.)

        In int8 on a CPU with VNNI the results are bit-equal to those of each window alone. Otherwise, and in fp32, the
        last bits depend on the batch size.
        """
        generators = [torch.Generator().manual_seed(_SEED) for _ in windows]
        return self._decode(windows, generators, languages, None, _better)

    def _decode(
        self,
        windows: Sequence[EncodedWindow],
        generators: Sequence[torch.Generator],
        languages: Sequence[str],
        sample_len: int | None,
        choose: Callable[[DecodingResult, DecodingResult], DecodingResult],
    ) -> list[DecodingResult]:
        """Decode a batch of windows, given the language of each and a random generator for each.

        `choose` takes the result so far and that at the next temperature, and returns the one that counts.
        The windows whose results need a fallback are decoded again, as one batch, at the next temperature.
        """
        results: list[DecodingResult | None] = [None] * len(windows)
        remaining = list(range(len(windows)))
        for temperature in _TEMPERATURES:
            options = DecodingOptions(
                self._task,
                temperature=temperature,
                beam_size=self._beam_size if self._beam_size > 1 and temperature == 0 else None,
                sample_len=sample_len,
                prompt=self._prompt,
                fp16=False,
            )
            batch = [windows[i] for i in remaining]
            task = self.decoding_task(options, batch)
            if temperature > 0:
                task.new_search = partial(Sampling, task.tokenizer.eot, temperature, [generators[i] for i in remaining])
            new_results = task.run(_features(batch), [languages[i] for i in remaining])
            new = dict(zip(remaining, new_results, strict=True))
            for i, result in new.items():
                before = results[i]
                results[i] = result if before is None else choose(before, result)
            remaining = [i for i in remaining if _needs_fallback(new[i])]
            if not remaining:
                break
        return results

    def decoding_task(self, options: DecodingOptions, windows: Sequence[EncodedWindow] = ()) -> BatchDecodingTask:
        """Return a decoding task in the precision of this decoder, for these windows or for any audio features."""
        task = BatchDecodingTask(self._model, options)
        if self._is_int8:
            task.inference = Int8Inference(
                self._model,
                self._check,
                first_logits=task.sot_index,
                cross_attn_caches=[self._cross_attn(window) for window in windows],
            )
            task.sot_index = 0
        eot = task.tokenizer.eot
        if options.beam_size is None:
            task.new_search = partial(Greedy, eot)
        else:
            task.new_search = partial(BeamSearch, eot, options.beam_size, task.inference)
        return task

    def _cross_attn(self, window: EncodedWindow) -> Int8Cache:
        if window.cross_attn is None:
            model = self._model
            window.cross_attn = cross_attn_cache(model.decoder, model.dims, window.features, self._check)
        return window.cross_attn

    def add_word_timestamps(
        self,
        segments: list[dict[str, Any]],
        tokenizer: Tokenizer,
        mel: Tensor,
        num_frames: int,
        last_speech_s: float,
        *,
        features: Tensor | None = None,
    ) -> None:
        """Add `words` to the segments of a window, and adjust the segments' start and end times to their words.

        Arguments as in `whisper.timing.add_word_timestamps`: `mel` has shape (num_mels, N_FRAMES), of which the first
        `num_frames` are audio, and `last_speech_s` is the end of the last word before the window. `features` is the
        encoder's output for `mel`, shape (n_audio_ctx, n_audio_state); without it the encoder runs once more, as in the
        package, where the last bits are different.
        """
        model = _with_private_modules(self._shared_model, self._check)
        if features is not None:
            model.encoder = _Precomputed(features)
        with self._lock_word_timestamps(), numba_lock(), _keep_num_threads():
            add_word_timestamps(
                segments=segments,
                model=model,
                tokenizer=tokenizer,
                mel=mel,
                num_frames=num_frames,
                last_speech_timestamp=last_speech_s,
            )

    @contextmanager
    def _lock_word_timestamps(self) -> Iterator[None]:
        while not _word_timestamps_lock.acquire(timeout=0.05):
            self._check()
        try:
            yield
        finally:
            _word_timestamps_lock.release()


@contextmanager
def _keep_num_threads() -> Iterator[None]:
    """Restore torch's number of threads: the first call of a numba kernel raises it to the number of cores."""
    num_threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _needs_fallback(result: DecodingResult) -> bool:
    """Return whether a window must be decoded again at a higher temperature, by the rule of `whisper.transcribe`."""
    is_improbable = result.avg_logprob < _LOGPROB_THRESHOLD
    is_repetitive = result.compression_ratio > _COMPRESSION_RATIO_THRESHOLD
    is_silence = is_improbable and result.no_speech_prob > _NO_SPEECH_THRESHOLD
    return bool((is_improbable or is_repetitive) and not is_silence)


def _last(_: DecodingResult, new: DecodingResult) -> DecodingResult:
    """Return the newer one of two results of a window, as `whisper.transcribe` does."""
    return new


def _better(old: DecodingResult, new: DecodingResult) -> DecodingResult:
    """Return the better one of two results of a window: not repetitive, then the more probable one."""

    def quality(result: DecodingResult) -> tuple[bool, float]:
        return result.compression_ratio <= _COMPRESSION_RATIO_THRESHOLD, result.avg_logprob

    return new if not _needs_fallback(new) or quality(new) > quality(old) else old


def suspect_reason(result: DecodingResult) -> SuspectReason | None:
    """Return which threshold of `whisper.transcribe` the final result of a window violates, if any."""
    if result.compression_ratio > _COMPRESSION_RATIO_THRESHOLD:
        return "repetition"
    if result.no_speech_prob > _NO_SPEECH_THRESHOLD:
        return "no_speech"
    return "low_probability" if result.avg_logprob < _LOGPROB_THRESHOLD else None


def is_no_speech(result: DecodingResult) -> bool:
    """Return whether a window has no speech and is skipped, by the rule of `whisper.transcribe`."""
    return bool(result.no_speech_prob > _NO_SPEECH_THRESHOLD and result.avg_logprob <= _LOGPROB_THRESHOLD)


def _with_private_modules(model: Whisper, check: Callable[[], None]) -> Whisper:
    """Return a copy of the model's modules that shares its weights, so that hooks on it do not affect other threads.

    `check` is called before each layer.
    """
    shared_weights = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    private = copy.deepcopy(model, shared_weights)
    for module in private.modules():
        if isinstance(module, ResidualAttentionBlock):
            module.register_forward_pre_hook(lambda *_: check())
    return private


class _Precomputed(nn.Module):
    """Stands for the encoder where its output is known."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self._features = features

    def forward(self, mel: Tensor) -> Tensor:
        """Return the features as a batch of one."""
        return self._features[None]


class _SdpaAttention(MultiHeadAttention):  # type: ignore[misc]
    """The package's attention with `use_sdpa` on, even while another thread has switched it off."""

    def qkv_attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Take and return shape (batch, length, n_state)."""
        q, k, v = (x.view(*x.shape[:2], self.n_head, -1).permute(0, 2, 1, 3) for x in (q, k, v))
        attn_out = F.scaled_dot_product_attention(q, k, v, is_causal=mask is not None and q.shape[2] > 1)
        return attn_out.permute(0, 2, 1, 3).flatten(start_dim=2), None
