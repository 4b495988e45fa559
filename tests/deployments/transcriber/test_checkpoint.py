import base64
import gzip
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import whisper
from whisper import Whisper
from whisper.model import ModelDimensions

from deployments.transcriber.checkpoint import load_whisper, official_model_name
from tests.deployments.transcriber.random_whisper import DIMENSIONS

OFFICIAL = {
    # n_mels, n_text_layer, n_text_state, n_text_head, n_vocab: from the checkpoints' config.json on the hub.
    "tiny": (80, 4, 384, 6, 51865),
    "base": (80, 6, 512, 8, 51865),
    "small": (80, 12, 768, 12, 51865),
    "medium": (80, 24, 1024, 16, 51865),
    "tiny.en": (80, 4, 384, 6, 51864),
    "base.en": (80, 6, 512, 8, 51864),
    "small.en": (80, 12, 768, 12, 51864),
    "medium.en": (80, 24, 1024, 16, 51864),
    "large-v3": (128, 32, 1280, 20, 51866),
    "large-v3-turbo": (128, 4, 1280, 20, 51866),
}
SAME_DIMENSIONS = {"large-v1", "large-v2"}
OTHER_NAMES = {"large": "large-v3", "turbo": "large-v3-turbo"}


def dimensions(n_mels: int, n_layer: int, n_state: int, n_head: int, n_vocab: int) -> ModelDimensions:
    """Return the dimensions of a model with a small encoder."""
    return ModelDimensions(n_mels, 1500, n_state, n_head, 1, n_vocab, 448, n_state, n_head, n_layer)


def write_checkpoint(path: Path, dims: ModelDimensions) -> None:
    """Write a checkpoint of zeros, which takes no space: all elements of a tensor share one."""
    zero = torch.zeros(1, dtype=torch.float16)
    weights = {key: zero.expand(weight.shape) for key, weight in Whisper(dims).state_dict().items()}
    torch.save({"dims": asdict(dims), "model_state_dict": weights}, path)


@pytest.mark.parametrize("size", OFFICIAL)
def test_the_dimensions_of_an_official_model_are_recognized(size: str) -> None:
    assert official_model_name(dimensions(*OFFICIAL[size])) == size


def test_every_official_model_is_recognized_or_cannot_be() -> None:
    assert set(whisper._ALIGNMENT_HEADS) == {*OFFICIAL, *SAME_DIMENSIONS, *OTHER_NAMES}
    for name, same in OTHER_NAMES.items():
        assert whisper._ALIGNMENT_HEADS[name] == whisper._ALIGNMENT_HEADS[same]


@pytest.mark.parametrize("size", OFFICIAL)
def test_the_alignment_heads_of_an_official_model_fit_its_dimensions(size: str) -> None:
    dims = dimensions(*OFFICIAL[size])
    heads = np.frombuffer(gzip.decompress(base64.b85decode(whisper._ALIGNMENT_HEADS[size])), bool)
    assert len(heads) == dims.n_text_layer * dims.n_text_head


@pytest.mark.parametrize(
    "dims",
    [
        pytest.param(DIMENSIONS, id="small"),
        pytest.param(replace(dimensions(*OFFICIAL["base"]), n_text_layer=5), id="distilled"),
        pytest.param(dimensions(80, 32, 1280, 20, 51865), id="large-v1 or large-v2"),
        pytest.param(dimensions(128, 32, 1280, 20, 51864), id="large-v3 for English only"),
    ],
)
def test_other_dimensions_are_not_official(dims: ModelDimensions) -> None:
    assert official_model_name(dims) is None


def test_a_custom_checkpoint_with_the_dimensions_of_base_has_its_alignment_heads(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "my-voice.pt", dimensions(*OFFICIAL["base"]))
    model = load_whisper(tmp_path / "my-voice.pt", "int8")
    # As published with openai/whisper-base on the hub, in generation_config.json: pairs of layer and head.
    published = [[3, 1], [4, 2], [4, 3], [4, 7], [5, 1], [5, 2], [5, 4], [5, 6]]
    assert model.alignment_heads.indices().T.tolist() == published


def test_a_checkpoint_with_other_dimensions_aligns_with_the_second_half_of_its_layers(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "my-small.pt", DIMENSIONS)
    model = load_whisper(tmp_path / "my-small.pt", "fp32")
    assert model.alignment_heads.indices().T.tolist() == [[1, 0], [1, 1]]
