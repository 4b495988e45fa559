import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import whisper
from torch import Tensor
from whisper import DecodingOptions, Whisper
from whisper.audio import N_FRAMES
from whisper.decoding import PyTorchInference

from deployments.cancellation import Cancellation
from deployments.inference.int8_layers import weight_bytes
from deployments.media import as_media
from deployments.project import project_folder
from deployments.settings import KernelChoice
from deployments.transcriber.audio import decode_audio
from deployments.transcriber.checkpoint import load_whisper
from deployments.transcriber.decoding import WindowDecoder
from deployments.transcriber.engine import load_engine
from deployments.transcriber.int8 import Int8Inference
from deployments.transcriber.types import TranscribeTask
from tests.deployments.transcriber.conftest import Loaded
from tests.deployments.transcriber.test_engine import chirp, noise, tone

MINIATURE = project_folder() / "checkpoints" / "mini" / "whisper-mini.pt"
NEVER = Cancellation(math.inf)


def _go_on() -> None:
    pass


@pytest.fixture(scope="module")
def exact() -> Whisper:
    return whisper.load_model(str(MINIATURE))


@pytest.fixture(scope="module")
def rounded() -> Whisper:
    return load_whisper(MINIATURE, "int8")


def _mel(seed: int) -> Tensor:
    return torch.randn(80, N_FRAMES, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


def _inference(rounded: Whisper) -> Int8Inference:
    return Int8Inference(rounded, _go_on)


@torch.inference_mode()
def test_logits_stay_close_to_the_packages(exact: Whisper, rounded: Whisper) -> None:
    features = exact.encoder(_mel(1)[None])
    tokens = torch.tensor([[50258, 50259, 50359, 50364, 400, 500, 600]])
    expected, actual = PyTorchInference(exact, 4), _inference(rounded)
    for end in (4, 5, 6, 7):
        wanted, got = (inference.logits(tokens[:, :end], features) for inference in (expected, actual))
        assert got.shape == (1, 4 if end == 4 else 1, exact.dims.n_vocab)
        assert 0.001 < (got - wanted).norm() / wanted.norm() < 0.1
    expected.cleanup_caching()


@torch.inference_mode()
def test_a_row_does_not_depend_on_its_neighbours(rounded: Whisper) -> None:
    features = rounded.encoder(torch.stack([_mel(1), _mel(2)]))
    tokens = torch.tensor([[50258, 50259, 50359, 400], [50258, 50262, 50359, 700]])
    together = _inference(rounded).logits(tokens, features)
    for row in range(2):
        alone = _inference(rounded).logits(tokens[row : row + 1], features[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)


@torch.inference_mode()
def test_rearranged_rows_go_on_from_what_their_sources_have_seen(rounded: Whisper) -> None:
    features = rounded.encoder(_mel(1)[None])
    inference = _inference(rounded)
    inference.logits(torch.tensor([[50258, 400], [50258, 500], [50258, 600]]), features)
    inference.rearrange_kv_cache([2, 0, 0])
    tokens = torch.tensor([[50258, 600, 700], [50258, 400, 700], [50258, 400, 800]])
    rearranged = inference.logits(tokens, features)
    anew = _inference(rounded).logits(tokens, features)
    assert torch.equal(rearranged[:, 0], anew[:, 2])


def test_beam_search_finds_a_text_at_least_as_probable(rounded: Whisper) -> None:
    decoder = WindowDecoder(rounded, _go_on)
    sound = decode_audio(as_media((project_folder() / "samples" / "recording.mp3").read_bytes()), NEVER, 60).waveform
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(sound))
    [greedy], [beam] = (
        decoder.task(DecodingOptions(language="en", beam_size=size, fp16=False)).run(mel[None]) for size in (None, 5)
    )
    assert beam.avg_logprob >= greedy.avg_logprob - 1e-3
    assert beam.text == greedy.text


@pytest.mark.parametrize("kernel", ["auto", "onednn"])
@pytest.mark.parametrize("word_timestamps", [False, True])
def test_the_miniature_hears_the_same_in_int8(word_timestamps: bool, kernel: KernelChoice) -> None:
    sound = decode_audio(as_media((project_folder() / "samples" / "recording.mp3").read_bytes()), NEVER, 60).waveform
    task = TranscribeTask(word_timestamps=word_timestamps)
    exact, rounded = (
        load_engine(MINIATURE, precision, kernel=kernel).transcribe(sound, task, NEVER)
        for precision in ("fp32", "int8")
    )
    assert rounded.text == exact.text
    assert rounded.language == exact.language
    for ours, theirs in zip(rounded.segments, exact.segments, strict=True):
        assert ours.start_s == pytest.approx(theirs.start_s, abs=0.1)
        for word, other in zip(ours.words, theirs.words, strict=True):
            assert word.start_s == pytest.approx(other.start_s, abs=0.1)


def test_two_recordings_at_once_do_not_disturb_each_other(loaded: Loaded) -> None:
    engine = load_engine(loaded.path, "int8", speech_detection=False)
    sounds, task = [noise(35), chirp(2), tone()], TranscribeTask(word_timestamps=True)
    alone = [engine.transcribe(sound, task, NEVER) for sound in sounds]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda sound: engine.transcribe(sound, task, NEVER), sounds)) == alone


def test_two_recordings_at_once_also_where_numba_bears_one_thread_only() -> None:
    """As on machines without libgomp, where numba would end the process."""
    script = f"""
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numba
from deployments.transcriber.engine import load_engine
from deployments.transcriber.types import TranscribeTask
from deployments.cancellation import Cancellation
from tests.deployments.transcriber.sounds import noise
engine = load_engine(Path({str(MINIATURE)!r}), "int8", speech_detection=False)
assert numba.threading_layer() == "workqueue"
task = TranscribeTask("en", word_timestamps=True)
with ThreadPoolExecutor(2) as threads:
    list(threads.map(lambda seed: engine.transcribe(noise(5, seed), task, Cancellation(math.inf)), range(6)))
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project_folder(),
        env={**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_int8_weighs_a_quarter(exact: Whisper) -> None:
    linear_bytes = (
        sum(module.weight.nbytes for module in exact.modules() if isinstance(module, torch.nn.Linear))
        + exact.decoder.token_embedding.weight.nbytes
    )
    total, rounded = (weight_bytes(load_whisper(MINIATURE, precision)) for precision in ("fp32", "int8"))
    assert rounded == pytest.approx(total - linear_bytes * 3 / 4, rel=0.03)  # scales, and biases where there were none


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_checkpoint_is_read_as_the_package_reads_it(exact: Whisper, tmp_path: Path, is_zip: bool) -> None:
    path = tmp_path / "model.pt"
    contents = torch.load(MINIATURE, weights_only=True)
    torch.save(contents, path, _use_new_zipfile_serialization=is_zip)
    ours, theirs = load_whisper(path, "fp32"), exact.state_dict()
    assert ours.state_dict().keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())
    assert torch.equal(ours.alignment_heads.to_dense(), exact.alignment_heads.to_dense())
    assert torch.equal(ours.decoder.mask, exact.decoder.mask)
    path.unlink()  # nothing is read from it later
    assert ours.decoder(torch.tensor([[50258]]), torch.zeros(1, 4, ours.dims.n_audio_state)).isfinite().all()
