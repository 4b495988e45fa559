"""From a recording to labels, with a small network of random weights."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.cancellation import Cancellation, WorkCancelled
from deployments.errors import DeadlineExceeded, ModelNotLoaded
from deployments.media import as_media
from deployments.project import project_folder
from deployments.transcriber.audio import SAMPLE_RATE, Waveform
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.speakers.labeler import SpeakerLabeler, load_labeler
from deployments.transcriber.types import Transcript, TranscriptSegment
from tests.deployments.transcriber.random_campplus import random_weights, write_campplus

NEVER = Cancellation(float("inf"))


@pytest.fixture(scope="module")
def labeler(tmp_path_factory: pytest.TempPathFactory) -> SpeakerLabeler:
    return load_labeler(write_campplus(tmp_path_factory.mktemp("voices") / "voices.pt"))


@pytest.fixture(scope="module")
def recording() -> Waveform:
    content = (project_folder() / "tests" / "data" / "speech.wav").read_bytes()
    return decode_audio(as_media(content), NEVER, 100).waveform


@pytest.mark.parametrize("num_speakers", [None, 1, 2, 16])
def test_all_speech_gets_a_speaker_and_no_more_than_asked_for(
    labeler: SpeakerLabeler, recording: Waveform, num_speakers: int | None
) -> None:
    turns = labeler.turns(np.tile(recording, 3), num_speakers, NEVER)
    assert all(0 <= turn.start_s < turn.end_s <= 3 * len(recording) / SAMPLE_RATE for turn in turns)
    assert all(before.end_s <= after.start_s for before, after in zip(turns, turns[1:], strict=False))
    assert sum(turn.end_s - turn.start_s for turn in turns) > len(recording) / SAMPLE_RATE
    assert len({turn.speaker for turn in turns}) <= (num_speakers or 100)


def test_a_transcript_of_silence_is_labelled_and_an_empty_one_left_as_it_is(labeler: SpeakerLabeler) -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    segment = TranscriptSegment(0.0, 1.0, "Thank you.", 0.1)
    invented = Transcript("Thank you.", "en", 0.1, [segment], 1.0)
    assert labeler.label(invented, silence, 2, NEVER).segments == [replace(segment, speaker="S1")]
    empty = Transcript.empty("en", 1.0)
    assert labeler.label(empty, silence, None, NEVER) is empty


def test_cancelled_and_late_work_ends(labeler: SpeakerLabeler, recording: Waveform) -> None:
    cancelled = Cancellation(float("inf"))
    cancelled.cancel()
    with pytest.raises(WorkCancelled):
        labeler.turns(recording, None, cancelled)
    with pytest.raises(DeadlineExceeded, match=r"all was transcribed; the speakers of \d+ % of the speech were looked"):
        labeler.turns(np.tile(recording, 200), None, Cancellation(time.time() + 1))


@pytest.mark.parametrize("damage", ["cut", "empty", "other weights", "no weights", "a layer missing"])
def test_a_file_that_is_no_campplus_is_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    path = write_campplus(tmp_path / "voices.pt")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5_000])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other weights":
        torch.save({"conv.weight": torch.zeros(1)}, path)
    elif damage == "no weights":
        torch.save([1, 2], path)
    else:
        weights = random_weights()
        del weights["xvector.block2.tdnnd7.linear1.weight"]
        torch.save(weights, path)
    with pytest.raises(ModelNotLoaded, match=r"voices\.pt does not hold .*`prism weights fetch`.* speakers\.model"):
        load_labeler(path)
