import json
from pathlib import Path
from typing import Any

import pytest

from deployments.captioner.model_config import MoondreamConfig
from deployments.captioner.moondream import Moondream
from tests.deployments.captioner.checkpoints import SIZES
from tests.deployments.captioner.loading import loading_error


def test_the_default_model_has_the_parameters_of_moondream2() -> None:
    # 1.927 billion with the detection heads, which are not loaded.
    assert sum(parameter.numel() for parameter in Moondream(MoondreamConfig()).parameters()) == 1_866_919_792


@pytest.mark.parametrize(
    ("section", "key", "value", "complaint"),
    [
        ("text", "dim", "wide", "text.dim: Input should be a valid integer"),
        ("text", "n_heads", 5, "text.dim (64) is not divisible by text.n_heads (5)"),
        ("text", "prefix_attn", 730, "text.prefix_attn is 730 but bos and a crop's patches take 37"),
        ("text", "vocab_size", 100, "a token id of the prompt templates is not below text.vocab_size (100)"),
        ("vision", "proj_out_dim", 32, "vision.proj_out_dim is 32 but text.dim is 64"),
        ("vision", "overlap_margin", 3, "vision.overlap_margin 3 is at least half of a crop"),
    ],
)
def test_inconsistent_sizes_are_rejected(section: str, key: str, value: object, complaint: str, tmp_path: Path) -> None:
    sizes: dict[str, Any] = {**SIZES, section: {**SIZES[section], key: value}}
    (tmp_path / "config.json").write_text(json.dumps({"config": sizes}))
    message = loading_error(tmp_path)
    assert complaint in message
    assert str(tmp_path / "config.json") in message


def test_a_configuration_that_is_not_a_json_object_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    assert "cannot be read as a JSON object" in loading_error(tmp_path)
