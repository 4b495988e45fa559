"""Trains in phases: short windows first, because the model learns most per second from them, then full 30 s windows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from whisper.tokenizer import get_tokenizer

from recipes.optimizer import Optimizer, cosine_with_warmup
from recipes.whisper_mini.language import LANGUAGES
from recipes.whisper_mini.model import DIMENSIONS, TrainableWhisper
from recipes.whisper_mini.voices import Utterance
from recipes.whisper_mini.windows import NOT_SPOKEN, Window, WindowComposer


@dataclass(frozen=True)
class Phase:
    until: float
    """The fraction of training time at which the phase ends."""
    batch_size: int
    num_positions: int
    """Length of a window in positions of the encoder, 20 ms each."""


@dataclass(frozen=True)
class Schedule:
    phases: tuple[Phase, ...]
    peak_learning_rate: float


FROM_SCRATCH = Schedule((Phase(0.33, 28, 140), Phase(0.6, 8, 500), Phase(1.0, 4, 1500)), 1.8e-3)
FINE_TUNING = Schedule((Phase(0.4, 8, 500), Phase(1.0, 4, 1500)), 7e-4)
"""For continuing from an earlier checkpoint."""

_WARMUP = 0.02
"""Fraction of training time."""
_WEIGHT_DECAY = 0.03
_MUON_FACTOR = 1.7
"""The learning rate of Muon, as a multiple of that of AdamW."""
_CTC_WEIGHT = 1.0
_LANGUAGE_WEIGHT = 0.2
_ALIGNMENT_WEIGHT = 0.3
_ALIGNMENT_TOLERANCE = 20
"""In positions. The training data gives only the approximate time of each token."""
_FIRST_TOKEN_WEIGHT = 0.1
"""Weight of the prediction that detects the language or no speech."""
_CTC_MARGIN = 3
"""Positions before and after a sentence in which its phones may be predicted too."""
_SAVE_EVERY_STEPS = 200
_LOG_EVERY_STEPS = 50


class TrainingLoss(nn.Module):
    """The token loss and three auxiliary losses.

    Two heads on the encoder, which the checkpoint leaves out, predict the phones (with CTC) and the language spoken at
    each position. The alignment loss supervises cross-attention: one head of the decoder's first layer should attend to
    the time of the input token, and its last layer to the time of the next token. The latter also makes word timestamps
    accurate, because they come from the last layer.
    """

    def __init__(self, model: TrainableWhisper, phones: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._phone_ids = {phone: phone_id for phone_id, phone in enumerate(phones, start=1)}
        self.phone_head = nn.Linear(DIMENSIONS.n_audio_state, 1 + len(phones))
        self.language_head = nn.Linear(DIMENSIONS.n_audio_state, 1 + len(LANGUAGES))

    def forward(self, windows: list[Window]) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch of windows of equal length, and its unweighted parts by name."""
        mel = torch.from_numpy(np.stack([window.mel for window in windows]))
        features = self.model.encode(mel, torch.tensor([window.offset for window in windows]))
        token_loss, alignment_loss = self._decoder_losses(windows, features)
        parts = {
            "token": token_loss,
            "alignment": alignment_loss,
            "ctc": self._ctc_loss(windows, features),
            "language": F.cross_entropy(
                self.language_head(features).flatten(0, 1),
                torch.from_numpy(np.concatenate([window.language_labels for window in windows])),
            ),
        }
        loss = parts["token"] + _CTC_WEIGHT * parts["ctc"]
        loss = loss + _ALIGNMENT_WEIGHT * parts["alignment"] + _LANGUAGE_WEIGHT * parts["language"]
        return loss, {name: part.item() for name, part in parts.items()}

    def _decoder_losses(self, windows: list[Window], features: Tensor) -> tuple[Tensor, Tensor]:
        length = max(len(window.tokens) for window in windows) - 1
        tokens = torch.zeros(len(windows), length, dtype=torch.long)
        targets = torch.zeros(len(windows), length, dtype=torch.long)
        is_target = torch.zeros(len(windows), length, dtype=torch.bool)
        times = torch.full((len(windows), length + 1), NOT_SPOKEN)
        for i, window in enumerate(windows):
            end = len(window.tokens) - 1
            tokens[i, :end] = torch.tensor(window.tokens[:-1])
            targets[i, :end] = torch.tensor(window.tokens[1:])
            times[i, : end + 1] = torch.tensor(window.token_times)
            is_target[i, window.num_prefix_tokens - 1 : end] = True
        states, attentions = self.model.decode(tokens, features)
        first_tokens = torch.tensor([window.first_token for window in windows])
        first_loss = self.model.loss(states[:, 0], first_tokens).mean()
        token_loss = self.model.loss(states[is_target], targets[is_target]).mean() + _FIRST_TOKEN_WEIGHT * first_loss
        alignment_loss = _alignment_loss(attentions[-1], times[:, 1:])
        alignment_loss = alignment_loss + _alignment_loss(attentions[0][:, :1], times[:, :-1])
        return token_loss, alignment_loss

    def _ctc_loss(self, windows: list[Window], features: Tensor) -> Tensor:
        slices, phone_ids = [], []
        for window, window_features in zip(windows, features, strict=True):
            for span in window.spans:
                slices.append(window_features[max(span.start - _CTC_MARGIN, 0) : span.end + _CTC_MARGIN + 1])
                phone_ids.append(torch.tensor([self._phone_ids[phone] for phone in span.phones]))
        if not slices:
            return features.new_zeros(())
        lengths = torch.tensor([len(part) for part in slices])
        target_lengths = torch.tensor([len(part) for part in phone_ids])
        log_probs = self.phone_head(nn.utils.rnn.pad_sequence(slices)).log_softmax(dim=-1)
        loss = F.ctc_loss(
            log_probs, torch.cat(phone_ids), lengths, target_lengths, reduction="none", zero_infinity=True
        )
        return loss.sum() / target_lengths.sum()


def _alignment_loss(attention: Tensor, times: Tensor) -> Tensor:
    """Return the mean negative log of the attention near each token's time, over the tokens that are spoken.

    `attention` has shape (batch, heads, length, num_positions), `times` (batch, length), in positions.
    """
    is_spoken = times != NOT_SPOKEN
    if not is_spoken.any():
        return attention.new_zeros(())
    distances = torch.arange(attention.shape[-1]) - times[is_spoken][:, None]
    is_near = (distances.abs() <= _ALIGNMENT_TOLERANCE)[:, None]
    near_attention = (attention.transpose(1, 2)[is_spoken] * is_near).sum(dim=-1)
    return -near_attention.clamp(min=1e-6).log().mean()


def train(
    utterances: list[Utterance],
    checkpoint: Path,
    seed: int,
    minutes: float,
    report: Callable[[str], None],
    base_checkpoint: Path | None = None,
) -> int:
    """Train on the utterances for `minutes` of CPU time; return the number of steps.

    The checkpoint is saved every _SAVE_EVERY_STEPS steps and at the end. With `base_checkpoint`, training continues
    from that checkpoint.

    Phases and learning rate depend on the fraction of CPU time used, so that the schedule completes on a slow or busy
    machine too.
    """
    torch.manual_seed(seed)
    tokenizer = get_tokenizer(True, num_languages=99)
    model = TrainableWhisper(_token_ids(utterances), tokenizer)
    schedule = FROM_SCRATCH
    if base_checkpoint is not None:
        model.load(base_checkpoint)
        schedule = FINE_TUNING
    training_loss = TrainingLoss(model, sorted({phone for utterance in utterances for phone in utterance.phones}))
    optimizer = Optimizer(
        [(list(training_loss.parameters()), schedule.peak_learning_rate)],
        [model.encoder.blocks, model.blocks],
        muon_factor=_MUON_FACTOR,
        weight_decay=_WEIGHT_DECAY,
    )
    by_language = {code: [u for u in utterances if u.language == code] for code in LANGUAGES}
    composer = WindowComposer(by_language, np.random.default_rng(seed))
    started = time.process_time()
    step, progress = 0, 0.0
    while progress < 1:
        phase = next(phase for phase in schedule.phases if progress < phase.until)
        windows = [composer.compose(phase.num_positions) for _ in range(phase.batch_size)]
        with torch.autocast("cpu", torch.bfloat16):
            loss, parts = training_loss(windows)
        optimizer.step(loss, cosine_with_warmup(progress + 1e-4, _WARMUP, 0.0))
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
    """Return the ids of all tokens in the training data, except timestamps."""
    tokenizer = get_tokenizer(True, num_languages=99)
    ids = {tokenizer.sot, tokenizer.eot, tokenizer.transcribe, tokenizer.no_timestamps, tokenizer.no_speech}
    ids |= {tokenizer.to_language_token(code) for code in LANGUAGES}
    for utterance in utterances:
        ids |= set(tokenizer.encode(f" {utterance.text}"))
    return sorted(ids)
