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
from whisper.decoding import DecodingTask, PyTorchInference
from whisper.model import MultiHeadAttention

from deployments.cancellation import Cancellation
from deployments.inference.cpu import local_vnni_vector_bytes
from deployments.inference.int8_layers import weight_bytes
from deployments.media import as_media
from deployments.project import project_folder
from deployments.settings import KernelChoice
from deployments.transcriber.audio import Waveform
from deployments.transcriber.audio_files import decode_audio
from deployments.transcriber.checkpoint import load_whisper
from deployments.transcriber.decoding import WindowDecoder
from deployments.transcriber.engine import load_engine
from deployments.transcriber.int8 import Int8Inference
from deployments.transcriber.mel import LogMel
from deployments.transcriber.types import TranscribeTask
from tests.deployments.transcriber.conftest import Loaded
from tests.deployments.transcriber.sounds import noise, sweep, tone

MINIATURE = project_folder() / "checkpoints" / "mini" / "whisper-mini.pt"
NEVER_CANCELLED = Cancellation(math.inf)


def never_cancel() -> None:
    pass


@pytest.fixture(scope="module")
def reference() -> Whisper:
    return whisper.load_model(str(MINIATURE))


@pytest.fixture(scope="module")
def quantized() -> Whisper:
    return load_whisper(MINIATURE, "int8")


def _sample_recording() -> Waveform:
    return decode_audio(
        as_media((project_folder() / "samples" / "recording.mp3").read_bytes()), NEVER_CANCELLED, 60
    ).waveform


def _mel(seed: int) -> Tensor:
    return torch.randn(80, N_FRAMES, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


def _inference(quantized: Whisper) -> Int8Inference:
    return Int8Inference(quantized, never_cancel)


@torch.inference_mode()
def test_int8_logits_are_close_to_those_of_the_package(reference: Whisper, quantized: Whisper) -> None:
    features = reference.encoder(_mel(1)[None])
    tokens = torch.tensor([[50258, 50259, 50359, 50364, 400, 500, 600]])
    expected, actual = PyTorchInference(reference, 4), _inference(quantized)
    for end in (4, 5, 6, 7):
        expected_logits, logits = (inference.logits(tokens[:, :end], features) for inference in (expected, actual))
        assert logits.shape == (1, 4 if end == 4 else 1, reference.dims.n_vocab)
        assert 0.001 < (logits - expected_logits).norm() / expected_logits.norm() < 0.1
    expected.cleanup_caching()


@torch.inference_mode()
@pytest.mark.parametrize("kernel", ["auto", "onednn"])
def test_the_int8_encoder_is_close_to_that_of_the_package(reference: Whisper, kernel: KernelChoice) -> None:
    encoder = load_whisper(MINIATURE, "int8", kernel).encoder
    mel = LogMel(_sample_recording(), 80, never_cancel).window(0)[None]
    expected, actual = reference.encoder(mel), encoder(mel)
    assert 0.001 < (actual - expected).norm() / expected.norm() < 0.1
    is_int8_attention = type(encoder.blocks[0].attn) is not MultiHeadAttention
    assert is_int8_attention == (kernel == "auto" and bool(local_vnni_vector_bytes()))


@torch.inference_mode()
def test_tokens_of_a_prompt_have_no_logits(quantized: Whisper) -> None:
    features = quantized.encoder(_mel(1)[None])
    tokens = torch.tensor([[50361, 400, 500, 50258, 50259, 50359, 600]])
    every = _inference(quantized).logits(tokens, features)
    inference = Int8Inference(quantized, never_cancel, first_logits=3)
    assert torch.equal(inference.logits(tokens[:, :6], features), every[:, 3:6])
    assert torch.equal(inference.logits(tokens, features), every[:, 6:])


@torch.inference_mode()
@pytest.mark.parametrize("prompt", [(), (400, 500, 600)])
def test_the_probability_of_no_speech_is_that_at_the_start_of_the_transcript(
    quantized: Whisper, prompt: tuple[int, ...]
) -> None:
    decoder = WindowDecoder(quantized, never_cancel, prompt=prompt)
    result = decoder.decode(decoder.encode(_mel(1)), "en")
    options = DecodingOptions(language="en", prompt=list(prompt) or None, fp16=False)
    task = DecodingTask(quantized, options)
    features = quantized.encoder(_mel(1)[None])
    logits = _inference(quantized).logits(torch.tensor([task.initial_tokens]), features)
    expected = logits[0, task.sot_index].softmax(dim=-1)[task.tokenizer.no_speech]
    assert result.no_speech_prob == pytest.approx(float(expected), rel=1e-3)


@torch.inference_mode()
def test_a_sequences_logits_do_not_depend_on_the_batch(quantized: Whisper) -> None:
    features = torch.cat([quantized.encoder(_mel(seed)[None]) for seed in (1, 2)])
    tokens = torch.tensor([[50258, 50259, 50359, 400], [50258, 50262, 50359, 700]])
    together = _inference(quantized).logits(tokens, features)
    for i in range(2):
        alone = _inference(quantized).logits(tokens[i : i + 1], features[i : i + 1])
        assert torch.equal(together[i : i + 1], alone)


@torch.inference_mode()
def test_rearranged_sequences_continue_their_source_sequences(quantized: Whisper) -> None:
    features = quantized.encoder(_mel(1)[None])
    inference = _inference(quantized)
    inference.logits(torch.tensor([[50258, 400], [50258, 500], [50258, 600]]), features)
    inference.rearrange_kv_cache([2, 0, 0])
    tokens = torch.tensor([[50258, 600, 700], [50258, 400, 700], [50258, 400, 800]])
    rearranged = inference.logits(tokens, features)
    recomputed = _inference(quantized).logits(tokens, features)
    assert torch.equal(rearranged[:, 0], recomputed[:, 2])


def test_beam_search_is_at_least_as_good_as_greedy_decoding(quantized: Whisper) -> None:
    decoder = WindowDecoder(quantized, never_cancel)
    sound = _sample_recording()
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(sound))
    [greedy], [beam] = (
        WindowDecoder(quantized, never_cancel, beam_size=size).decode_batch([decoder.encode(mel)], ["en"])
        for size in (1, 5)
    )
    assert beam.avg_logprob >= greedy.avg_logprob - 1e-3
    assert beam.text == greedy.text


def test_beam_search_finds_what_the_packages_own_does() -> None:
    model = whisper.load_model(str(MINIATURE))
    sound = _sample_recording()
    options = DecodingOptions(language="en", beam_size=3, fp16=False)
    task = WindowDecoder(model, never_cancel, beam_size=3).decoding_task(options)
    for part in (sound, sound[: len(sound) // 2]):
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(part))
        [expected] = DecodingTask(model, options).run(mel[None])
        [result] = task.run(expected.audio_features[None])
        assert result.tokens == expected.tokens
        assert result.avg_logprob == pytest.approx(expected.avg_logprob, rel=1e-4)
        assert result.no_speech_prob == pytest.approx(expected.no_speech_prob, rel=1e-4)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_windows_that_end_at_different_times_have_the_results_of_each_alone(quantized: Whisper, beam_size: int) -> None:
    decoder = WindowDecoder(quantized, never_cancel, beam_size=beam_size)
    sound = _sample_recording()
    short = sound[: len(sound) // 3]
    windows = [
        decoder.encode(whisper.log_mel_spectrogram(whisper.pad_or_trim(one))) for one in (short, sound, short, sound)
    ]
    together = decoder.decode_batch(windows, ["en", "en", "de", "fr"])
    assert len({len(result.tokens) for result in together}) > 1
    for window, language, result in zip(windows, ["en", "en", "de", "fr"], together, strict=True):
        [alone] = decoder.decode_batch([window], [language])
        assert (result.tokens, result.avg_logprob, result.language) == (alone.tokens, alone.avg_logprob, language)


def test_languages_have_the_probabilities_of_the_package(reference: Whisper, quantized: Whisper) -> None:
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(_sample_recording()))
    _, expected = reference.detect_language(mel)
    for model, tolerance in ((reference, 1e-5), (quantized, 0.05)):
        decoder = WindowDecoder(model, never_cancel)
        [probabilities] = decoder.language_probabilities([decoder.encode(mel)])
        assert probabilities == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("kernel", ["auto", "onednn"])
@pytest.mark.parametrize("word_timestamps", [False, True])
def test_the_miniature_gives_the_same_transcript_in_int8_and_fp32(word_timestamps: bool, kernel: KernelChoice) -> None:
    sound = _sample_recording()
    task = TranscribeTask(word_timestamps=word_timestamps)
    exact = load_engine(MINIATURE, "fp32").transcribe(sound, task, NEVER_CANCELLED)
    quantized = load_engine(MINIATURE, "int8", kernel=kernel).transcribe(sound, task, NEVER_CANCELLED)
    assert quantized.text == exact.text
    assert quantized.language == exact.language
    for segment, exact_segment in zip(quantized.segments, exact.segments, strict=True):
        assert segment.start_s == pytest.approx(exact_segment.start_s, abs=0.1)
        for word, exact_word in zip(segment.words, exact_segment.words, strict=True):
            assert word.start_s == pytest.approx(exact_word.start_s, abs=0.1)


def test_concurrent_transcriptions_do_not_affect_each_other(loaded: Loaded) -> None:
    engine = load_engine(loaded.path, "int8", speech_detection=False)
    sounds, task = [noise(35), sweep(2), tone()], TranscribeTask(word_timestamps=True)
    alone = [engine.transcribe(sound, task, NEVER_CANCELLED) for sound in sounds]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda sound: engine.transcribe(sound, task, NEVER_CANCELLED), sounds)) == alone


@pytest.mark.slow
def test_concurrent_transcriptions_work_with_a_numba_threading_layer_that_is_not_thread_safe() -> None:
    """As on machines without libgomp. Two threads in this layer at once would make numba end the process."""
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


def test_int8_weights_take_a_quarter_of_the_memory(reference: Whisper) -> None:
    linear_bytes = (
        sum(module.weight.nbytes for module in reference.modules() if isinstance(module, torch.nn.Linear))
        + reference.decoder.token_embedding.weight.nbytes
    )
    total, quantized = (weight_bytes(load_whisper(MINIATURE, precision)) for precision in ("fp32", "int8"))
    assert quantized == pytest.approx(total - linear_bytes * 3 / 4, rel=0.03)  # plus scales and biases


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_checkpoint_loads_the_same_weights_as_in_the_package(
    reference: Whisper, tmp_path: Path, is_zip: bool
) -> None:
    path = tmp_path / "model.pt"
    contents = torch.load(MINIATURE, weights_only=True)
    torch.save(contents, path, _use_new_zipfile_serialization=is_zip)
    ours, theirs = load_whisper(path, "fp32"), reference.state_dict()
    assert ours.state_dict().keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.state_dict().items())
    assert torch.equal(ours.alignment_heads.to_dense(), reference.alignment_heads.to_dense())
    assert torch.equal(ours.decoder.mask, reference.decoder.mask)
    path.unlink()  # the weights are copied, not mapped
    assert ours.decoder(torch.tensor([[50258]]), torch.zeros(1, 4, ours.dims.n_audio_state)).isfinite().all()
