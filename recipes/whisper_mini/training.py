"""Training: short windows first, because they teach most a second, and whole ones of 30 s at last."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper.tokenizer import get_tokenizer

from recipes.optimizer import Optimizer, warmed_up_cosine
from recipes.whisper_mini.language import LANGUAGES
from recipes.whisper_mini.model import DIMENSIONS, TrainedWhisper
from recipes.whisper_mini.voices import Utterance
from recipes.whisper_mini.windows import UNHEARD, Window, WindowComposer


@dataclass(frozen=True)
class Phase:
    until: float
    """The share of the training's time after which it ends."""
    batch_size: int
    num_positions: int
    """Of the encoder, 20 ms each."""


@dataclass(frozen=True)
class Plan:
    phases: tuple[Phase, ...]
    peak_learning_rate: float


FROM_NOTHING = Plan((Phase(0.33, 28, 140), Phase(0.6, 8, 500), Phase(1.0, 4, 1500)), 1.8e-3)
GOING_ON = Plan((Phase(0.4, 8, 500), Phase(1.0, 4, 1500)), 7e-4)
"""With a checkpoint that this recipe has made."""

_WARM_UP = 0.02
"""Of the training's time."""
_WEIGHT_DECAY = 0.03
_MUON_FACTOR = 1.7
_CTC_WEIGHT = 1.0
_LABEL_WEIGHT = 0.2
_PLACE_WEIGHT = 0.3
_NEAR = 20
"""Positions around the moment when a token is heard, which is known no better."""
_FIRST_TOKEN_WEIGHT = 0.1
_SAVE_EVERY_STEPS = 200
_LOG_EVERY_STEPS = 50


class Teacher(nn.Module):
    """The training loss. Two heads that the checkpoint leaves out tell the encoder what to listen for.

    One tells the phones (CTC), the other which language is spoken when. The decoder is told where to listen: one head
    of its first layer to the token that it is given, and from there its last layer to the one that comes next, which
    is also what makes the times of words right.
    """

    def __init__(self, model: TrainedWhisper, phones: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._codes = {phone: code for code, phone in enumerate(phones, start=1)}
        self.spelling = nn.Linear(DIMENSIONS.n_audio_state, 1 + len(phones))
        self.speaking = nn.Linear(DIMENSIONS.n_audio_state, 1 + len(LANGUAGES))

    def forward(self, windows: list[Window]) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch of windows of one length, and its parts."""
        mel = torch.from_numpy(np.stack([window.mel for window in windows]))
        features = self.model.encode(mel, torch.tensor([window.offset for window in windows]))
        token_loss, place_loss = self._decoder_losses(windows, features)
        parts = {
            "token": token_loss,
            "place": place_loss,
            "ctc": self._spelling_loss(windows, features),
            "label": F.cross_entropy(
                self.speaking(features).flatten(0, 1), torch.from_numpy(np.concatenate([w.labels for w in windows]))
            ),
        }
        loss = parts["token"] + _CTC_WEIGHT * parts["ctc"]
        loss = loss + _PLACE_WEIGHT * parts["place"] + _LABEL_WEIGHT * parts["label"]
        return loss, {name: part.item() for name, part in parts.items()}

    def _decoder_losses(self, windows: list[Window], features: Tensor) -> tuple[Tensor, Tensor]:
        length = max(len(window.tokens) for window in windows) - 1
        tokens = torch.zeros(len(windows), length, dtype=torch.long)
        targets = torch.zeros(len(windows), length, dtype=torch.long)
        is_said = torch.zeros(len(windows), length, dtype=torch.bool)
        moments = torch.full((len(windows), length + 1), UNHEARD)
        for i, window in enumerate(windows):
            end = len(window.tokens) - 1
            tokens[i, :end] = torch.tensor(window.tokens[:-1])
            targets[i, :end] = torch.tensor(window.tokens[1:])
            moments[i, : end + 1] = torch.tensor(window.moments)
            is_said[i, window.num_prefix_tokens - 1 : end] = True
        states, attentions = self.model.decode(tokens, features)
        first = torch.tensor([window.first_token for window in windows])
        first_loss = self.model.loss(states[:, 0], first).mean()
        token_loss = self.model.loss(states[is_said], targets[is_said]).mean() + _FIRST_TOKEN_WEIGHT * first_loss
        place_loss = _place_loss(attentions[-1], moments[:, 1:]) + _place_loss(attentions[0][:, :1], moments[:, :-1])
        return token_loss, place_loss

    def _spelling_loss(self, windows: list[Window], features: Tensor) -> Tensor:
        slices, codes = [], []
        for window, of_window in zip(windows, features, strict=True):
            for span in window.spans:
                slices.append(of_window[max(span.start - 3, 0) : span.end + 4])
                codes.append(torch.tensor([self._codes[phone] for phone in span.phones]))
        if not slices:
            return features.new_zeros(())
        lengths = torch.tensor([len(part) for part in slices])
        code_lengths = torch.tensor([len(part) for part in codes])
        log_probs = self.spelling(nn.utils.rnn.pad_sequence(slices)).log_softmax(dim=-1)
        loss = F.ctc_loss(log_probs, torch.cat(codes), lengths, code_lengths, reduction="none", zero_infinity=True)
        return loss.sum() / code_lengths.sum()


def _place_loss(attention: Tensor, moments: Tensor) -> Tensor:
    """Return the mean negative log of how much attention lies near the moments, over tokens that are heard."""
    is_heard = moments != UNHEARD
    if not is_heard.any():
        return attention.new_zeros(())
    distances = torch.arange(attention.shape[-1]) - moments[is_heard][:, None]
    near = (distances.abs() <= _NEAR)[:, None]
    shares = (attention.transpose(1, 2)[is_heard] * near).sum(dim=-1)
    return -shares.clamp(min=1e-6).log().mean()


def train(
    utterances: list[Utterance],
    checkpoint: Path,
    seed: int,
    minutes: float,
    report: Callable[[str], None],
    earlier: Path | None = None,
) -> int:
    """Train on the utterances and write the checkpoint, now and then and at the end; return the number of steps.

    With an `earlier` checkpoint, go on from there.

    Phases and learning rate follow the processor's time, so that a slow machine gets through all of them too, and a
    busy one is not cut short.
    """
    torch.manual_seed(seed)
    tokenizer = get_tokenizer(True, num_languages=99)
    model = TrainedWhisper(_token_ids(utterances), tokenizer)
    plan = FROM_NOTHING
    if earlier is not None:
        model.restore(earlier)
        plan = GOING_ON
    teacher = Teacher(model, sorted({phone for utterance in utterances for phone in utterance.phones}))
    optimizer = Optimizer(
        [(list(teacher.parameters()), plan.peak_learning_rate)],
        [model.encoder.blocks, model.blocks],
        muon_factor=_MUON_FACTOR,
        weight_decay=_WEIGHT_DECAY,
    )
    by_language = {code: [u for u in utterances if u.language == code] for code in LANGUAGES}
    composer = WindowComposer(by_language, np.random.default_rng(seed))
    started = time.process_time()
    step, progress = 0, 0.0
    while progress < 1:
        phase = next(phase for phase in plan.phases if progress < phase.until)
        windows = [composer.compose(phase.num_positions) for _ in range(phase.batch_size)]
        with torch.autocast("cpu", torch.bfloat16):
            loss, parts = teacher(windows)
        optimizer.step(loss, warmed_up_cosine(progress + 1e-4, _WARM_UP, 0.0))
        step += 1
        progress = (time.process_time() - started) / (60 * minutes)
        if step % _LOG_EVERY_STEPS == 0:
            figures = " ".join(f"{name} {part:.3f}" for name, part in parts.items())
            report(f"step {step}, {progress:.1%}, {phase.num_positions} positions: {figures}")
        if step % _SAVE_EVERY_STEPS == 0:
            model.save(checkpoint)
    model.save(checkpoint)
    return step


def _token_ids(utterances: list[Utterance]) -> list[int]:
    """Return the ids of all that is read or said, but for timestamps."""
    tokenizer = get_tokenizer(True, num_languages=99)
    ids = {tokenizer.sot, tokenizer.eot, tokenizer.transcribe, tokenizer.no_timestamps, tokenizer.no_speech}
    ids |= {tokenizer.to_language_token(code) for code in LANGUAGES}
    for utterance in utterances:
        ids |= set(tokenizer.encode(f" {utterance.text}"))
    return sorted(ids)
