"""Decodes a batch of windows by the rules of openai-whisper's `DecodingTask`, each of them no longer than it needs."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from whisper import DecodingResult
from whisper.decoding import DecodingTask, Inference
from whisper.utils import compression_ratio

from deployments.transcriber.int8 import Int8Inference

ScoredTexts = list[tuple[Tensor, float]]
"""Candidates for the text of one window: the token ids, shape (length,), with those before the text and without the end
token, and the sum of their log probabilities."""


class Search(Protocol):
    """Chooses the next tokens of a batch of windows, each of which has the same number of sequences."""

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, list[bool]]:
        """Return the sequences, each longer by one token, and whether each window is complete.

        `tokens` has shape (num_sequences, length), `logits` (num_sequences, n_vocab). `sum_logprobs`, shape
        (num_sequences,), becomes that of the new sequences.
        """

    def texts(self, window: int, tokens: Tensor, sum_logprobs: Tensor) -> ScoredTexts:
        """Return the candidates of a window for its text.

        `tokens` are its sequences, shape (sequences_per_window, length), and `sum_logprobs` their log probabilities,
        shape (sequences_per_window,).
        """

    def keep(self, windows: Sequence[int]) -> None:
        """Forget all windows but these; they are counted anew from 0."""


class Greedy:
    """Takes the most probable token; one sequence per window."""

    def __init__(self, eot: int) -> None:
        self._eot = eot

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, list[bool]]:
        next_tokens = logits.argmax(dim=-1)
        logprobs = logits.log_softmax(dim=-1)[torch.arange(len(tokens)), next_tokens]
        return _appended(tokens, next_tokens, logprobs, sum_logprobs, self._eot)

    def texts(self, window: int, tokens: Tensor, sum_logprobs: Tensor) -> ScoredTexts:
        return _up_to_end(tokens, sum_logprobs, self._eot)

    def keep(self, windows: Sequence[int]) -> None:
        """There is nothing to forget."""


class Sampling:
    """Draws the next token; one sequence and one random generator per window."""

    def __init__(self, eot: int, temperature: float, generators: Sequence[torch.Generator]) -> None:
        self._eot = eot
        self._temperature = temperature
        self._generators = list(generators)

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, list[bool]]:
        next_tokens = torch.full((len(tokens),), self._eot)
        logprobs = torch.zeros(len(tokens))
        for i, generator in enumerate(self._generators):
            # A finished sequence must not draw: its generator's state would depend on how long the others go on.
            if tokens[i, -1] != self._eot:
                next_tokens[i] = self._sample(logits[i : i + 1], generator)
                logprobs[i] = logits[i].log_softmax(dim=-1)[next_tokens[i]]
        return _appended(tokens, next_tokens, logprobs, sum_logprobs, self._eot)

    def texts(self, window: int, tokens: Tensor, sum_logprobs: Tensor) -> ScoredTexts:
        return _up_to_end(tokens, sum_logprobs, self._eot)

    def keep(self, windows: Sequence[int]) -> None:
        self._generators = [self._generators[window] for window in windows]

    def _sample(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """Return a token for the logits of one sequence, shape (1, n_vocab).

        One sequence at a time, because torch sums a batch in another order, which changes the last bits.
        """
        probabilities = torch.distributions.Categorical(logits=logits / self._temperature).probs
        return torch.multinomial(probabilities, 1, replacement=True, generator=generator)[0, 0]


class BeamSearch:
    """Keeps the `beam_size` most probable sequences of each window until as many of its texts have ended.

    The rules are those of the package's `BeamSearchDecoder` with patience 1.
    """

    def __init__(self, eot: int, beam_size: int, inference: Inference) -> None:
        self._eot = eot
        self._beam_size = beam_size
        self._inference = inference
        self._ended: list[dict[tuple[int, ...], float]] = []
        """The texts of each window that have ended, and their log probabilities."""

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> tuple[Tensor, list[bool]]:
        size = self._beam_size
        if not self._ended:
            self._ended = [{} for _ in range(len(tokens) // size)]
        best, candidates = logits.topk(size + 1)
        scores = (sum_logprobs[:, None] + best - logits.logsumexp(dim=-1, keepdim=True)).tolist()
        next_tokens = candidates.tolist()
        sequences = [tuple(sequence) for sequence in tokens.tolist()]
        kept: list[tuple[int, ...]] = []
        kept_scores: list[float] = []
        sources: list[int] = []
        for window, ended in enumerate(self._ended):
            # At first all sequences of a window are equal: a dict has each continuation once.
            continuations = {
                (*sequences[i], token): (score, i)
                for i in range(window * size, (window + 1) * size)
                for token, score in zip(next_tokens[i], scores[i], strict=True)
            }
            for sequence, (score, source) in sorted(continuations.items(), key=lambda one: one[1][0], reverse=True):
                if len(kept) == (window + 1) * size:
                    break
                if sequence[-1] != self._eot:
                    kept.append(sequence)
                    kept_scores.append(score)
                    sources.append(source)
                elif len(ended) < size:
                    ended[sequence] = score
        sum_logprobs[:] = torch.tensor(kept_scores)
        self._inference.rearrange_kv_cache(sources)
        return torch.tensor(kept), [len(ended) == size for ended in self._ended]

    def texts(self, window: int, tokens: Tensor, sum_logprobs: Tensor) -> ScoredTexts:
        ended = self._ended[window]
        texts = [(torch.tensor(sequence[:-1]), score) for sequence, score in ended.items()]
        by_score = sum_logprobs.argsort(descending=True)[: self._beam_size - len(ended)]
        return texts + [(tokens[i], float(sum_logprobs[i])) for i in by_score]

    def keep(self, windows: Sequence[int]) -> None:
        self._ended = [self._ended[window] for window in windows]


def _appended(
    tokens: Tensor, next_tokens: Tensor, logprobs: Tensor, sum_logprobs: Tensor, eot: int
) -> tuple[Tensor, list[bool]]:
    """Append a token to each sequence that has not ended, and its log probability to `sum_logprobs`."""
    has_ended = tokens[:, -1] == eot
    next_tokens[has_ended] = eot
    sum_logprobs += logprobs * ~has_ended
    return torch.cat([tokens, next_tokens[:, None]], dim=-1), (next_tokens == eot).tolist()


def _up_to_end(tokens: Tensor, sum_logprobs: Tensor, eot: int) -> ScoredTexts:
    """Return the only sequence of a window without the tokens from the first `eot` on."""
    [sequence] = tokens
    return [(sequence[: len(sequence) - int((sequence == eot).sum())], float(sum_logprobs))]


class BatchDecodingTask(DecodingTask):  # type: ignore[misc]
    """The package's task for windows of different languages.

    In int8 a window that is complete leaves the batch, so that the others take less time.
    """

    new_search: Callable[[], Search]
    """Returns what chooses the tokens of a batch."""

    @torch.no_grad()
    def run(self, features: Tensor, languages: Sequence[str] | None = None) -> list[DecodingResult]:
        """Return the most probable text of each window.

        `features` are the windows' audio features, shape (num_windows, n_audio_ctx, n_audio_state); `languages` are
        their codes, by default that of the options.
        """
        languages = languages or [self.options.language or "en"] * len(features)
        tokens = torch.tensor([self._first_tokens(one) for one in languages]).repeat_interleave(self.n_group, dim=0)
        sum_logprobs = torch.zeros(len(tokens))
        no_speech_probs = [math.nan] * len(features)
        search = self.new_search()
        windows = list(range(len(features)))
        results: dict[int, DecodingResult] = {}
        try:
            for step in range(self.sample_len):
                logits = self.inference.logits(tokens, features)
                if step == 0 and self.tokenizer.no_speech is not None:
                    at_start = logits[:: self.n_group, self.sot_index].softmax(dim=-1)
                    no_speech_probs = at_start[:, self.tokenizer.no_speech].tolist()
                logits = logits[:, -1]
                for logit_filter in self.logit_filters:
                    logit_filter.apply(logits, tokens)
                tokens, is_complete = search.update(tokens, logits, sum_logprobs)
                if step + 1 == self.sample_len or tokens.shape[1] > self.n_ctx:
                    is_complete = [True] * len(windows)
                if not (all(is_complete) or any(is_complete) and isinstance(self.inference, Int8Inference)):
                    continue
                by_window = tokens.view(len(windows), self.n_group, -1), sum_logprobs.view(len(windows), self.n_group)
                for k, window in enumerate(windows):
                    if is_complete[k]:
                        texts = search.texts(k, *(part[k] for part in by_window))
                        results[window] = self._result(
                            features[window], languages[window], texts, no_speech_probs[window]
                        )
                remaining = [k for k in range(len(windows)) if not is_complete[k]]
                if not remaining:
                    break
                tokens, sum_logprobs = (part[remaining].flatten(0, 1) for part in by_window)
                windows = [windows[k] for k in remaining]
                search.keep(remaining)
                self.inference.keep_windows(remaining)
        finally:
            self.inference.cleanup_caching()
        return [results[window] for window in range(len(features))]

    def _first_tokens(self, language: str) -> list[int]:
        """Return the tokens before the text."""
        tokens = list(self.initial_tokens)
        if self.model.is_multilingual:
            tokens[tokens.index(self.tokenizer.sot) + 1] = self.tokenizer.to_language_token(language)
        return tokens

    def _result(self, features: Tensor, language: str, texts: ScoredTexts, no_speech_prob: float) -> DecodingResult:
        candidates = [text[self.sample_begin :] for text, _ in texts]
        logprobs = [logprob for _, logprob in texts]
        [best] = self.sequence_ranker.rank([candidates], [logprobs])
        tokens = candidates[best].tolist()
        text = self.tokenizer.decode(tokens).strip()
        return DecodingResult(
            audio_features=features,
            language=language,
            tokens=tokens,
            text=text,
            avg_logprob=logprobs[best] / (len(tokens) + 1),
            no_speech_prob=no_speech_prob,
            temperature=self.options.temperature,
            compression_ratio=compression_ratio(text),
        )
