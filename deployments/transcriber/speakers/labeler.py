"""From a recording and its transcript to a transcript with speakers."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from deployments.cancellation import Cancellation
from deployments.commands import FETCH_COMMAND
from deployments.errors import ModelNotLoaded
from deployments.inference.int8_layers import weight_bytes
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.speakers.campplus import CamPlusPlus, CamPlusPlusSizes
from deployments.transcriber.speakers.clustering import find_voices
from deployments.transcriber.speakers.encoder import VoiceEncoder, divide_into_windows
from deployments.transcriber.speakers.labels import Turn, label_transcript
from deployments.transcriber.speakers.turns import find_turns
from deployments.transcriber.types import Transcript
from deployments.transcriber.voice_activity import VoiceActivityDetector, find_speech

_MIN_CLEAR_SAMPLES = SAMPLE_RATE * 4 // 5
"""Shorter windows do not count when voices are looked for: their vectors are mostly noise."""

_INVALID_CHECKPOINT_ERRORS = (
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    pickle.UnpicklingError,
)
"""What torch raises for a file that does not hold these weights."""


class SpeakerLabeler:
    """Tells apart who speaks in a recording; several threads may use it at once."""

    def __init__(self, network: CamPlusPlus) -> None:
        self._detector = VoiceActivityDetector()
        self._encoder = VoiceEncoder(network)
        self.weight_bytes = weight_bytes(network)

    def label(
        self, transcript: Transcript, recording: Waveform, num_speakers: int | None, cancellation: Cancellation
    ) -> Transcript:
        """Return the transcript of a recording with speakers (see `label_transcript`).

        With `num_speakers`, no more than so many are told apart. Raises what `cancellation.check` raises, at the latest
        after a few windows of speech.
        """
        if not transcript.segments:
            return transcript
        return label_transcript(transcript, self.turns(recording, num_speakers, cancellation))

    def turns(self, recording: Waveform, num_speakers: int | None, cancellation: Cancellation) -> list[Turn]:
        """Return who speaks when in a recording; none where the detector finds no speech."""
        check = _progress_check(cancellation, 0)
        probabilities = self._detector.probabilities(recording, lambda: check(0))
        windows = divide_into_windows(find_speech(probabilities, len(recording)))
        if not windows:
            return []
        vectors = self._encoder.vectors(recording, windows, _progress_check(cancellation, len(windows)))
        num_samples = np.array([window.num_samples for window in windows])
        is_clear = num_samples >= _MIN_CLEAR_SAMPLES
        if is_clear.sum() < (num_speakers or 1):
            is_clear[:] = True
        voices = find_voices(vectors[is_clear], num_samples[is_clear] / SAMPLE_RATE, num_speakers)
        return find_turns(windows, vectors, voices)


def load_labeler(path: Path) -> SpeakerLabeler:
    """Return the labeler with the weights of a CAM++, as 3D-Speaker saves them; raises ModelNotLoaded."""
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        network = CamPlusPlus(CamPlusPlusSizes.of(weights))
        network.load_state_dict(weights)
    except _INVALID_CHECKPOINT_ERRORS as error:
        raise ModelNotLoaded(
            f"{path} does not hold the weights of a CAM++ ({type(error).__name__}). Fetch them again with "
            f"`{FETCH_COMMAND}`, or name another file in speakers.model."
        ) from error
    return SpeakerLabeler(network)


def _progress_check(cancellation: Cancellation, num_windows: int) -> Callable[[int], None]:
    def check(num_done: int) -> None:
        share = f"{100 * num_done // num_windows} %" if num_windows else "0 %"
        cancellation.check(f"all was transcribed; the speakers of {share} of the speech were looked at")

    return check
