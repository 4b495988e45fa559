"""The sizes, token ids and prompt templates of a Moondream checkpoint, under the names that its `config.json` uses.

The defaults are those of `vikhyatk/moondream2` at revision 2025-06-21, whose `config.json` states none of them. A
checkpoint of another size states its own under the key `config`.
"""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deployments.commands import RESTORE_ADVICE
from deployments.errors import ModelNotLoaded

TokenIds = tuple[int, ...]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True)


class TextConfig(_Section):
    """The language model, a Phi decoder."""

    dim: int = Field(2048, gt=0)
    ff_dim: int = Field(8192, gt=0)
    n_layers: int = Field(24, gt=0)
    vocab_size: int = Field(51200, gt=0)
    max_context: int = Field(2048, gt=0)
    n_heads: int = Field(32, gt=0)
    n_kv_heads: int = Field(32, gt=0)
    prefix_attn: int = Field(730, gt=0)
    """Length of the prefix, bos and the image embeddings, within which attention is bidirectional."""

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads


class VisionConfig(_Section):
    """The vision tower, a SigLIP encoder, and the projection behind it."""

    enc_dim: int = Field(1152, gt=0)
    enc_patch_size: int = Field(14, gt=0)
    enc_n_layers: int = Field(27, gt=0)
    enc_ff_dim: int = Field(4304, gt=0)
    enc_n_heads: int = Field(16, gt=0)
    proj_inner_dim: int = Field(8192, gt=0)
    proj_out_dim: int = Field(2048, gt=0)
    crop_size: int = Field(378, gt=0)
    """Side of a crop, in pixels."""
    in_channels: Literal[3] = 3
    max_crops: int = Field(12, gt=0)
    """Maximum number of local crops that the model was trained with."""
    overlap_margin: int = Field(4, ge=0)
    """Patches by which a local crop extends beyond its window, on each side."""

    @property
    def grid(self) -> int:
        """Patches along each side of a crop."""
        return self.crop_size // self.enc_patch_size

    @property
    def margin_px(self) -> int:
        return self.overlap_margin * self.enc_patch_size

    @property
    def window_px(self) -> int:
        """Side of a local crop without its margins, in pixels."""
        return self.crop_size - 2 * self.margin_px


class CaptionTemplates(_Section):
    short: TokenIds = (1, 32708, 2, 12492, 3)
    normal: TokenIds = (1, 32708, 2, 6382, 3)
    long: TokenIds = (1, 32708, 2, 4059, 3)


class QueryTemplate(_Section):
    """The ids of the question go between `prefix` and `suffix`."""

    prefix: TokenIds = (1, 15381, 2)
    suffix: TokenIds = (3,)


class Templates(_Section):
    caption: CaptionTemplates = CaptionTemplates()
    query: QueryTemplate = QueryTemplate()


class TokenizerConfig(_Section):
    bos_id: int = 0
    eos_id: int = 0
    answer_id: int = 3
    templates: Templates = Templates()

    def ids(self) -> TokenIds:
        """Return every id that a prompt can contain, apart from those of a question."""
        caption, query = self.templates.caption, self.templates.query
        special = (self.bos_id, self.eos_id, self.answer_id)
        return special + caption.short + caption.normal + caption.long + query.prefix + query.suffix


class MoondreamConfig(_Section):
    text: TextConfig = TextConfig()
    vision: VisionConfig = VisionConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        text, vision = self.text, self.vision
        for name, size, divisor_name, divisor in (
            ("text.dim", text.dim, "text.n_heads", text.n_heads),
            ("text.n_heads", text.n_heads, "text.n_kv_heads", text.n_kv_heads),
            ("vision.enc_dim", vision.enc_dim, "vision.enc_n_heads", vision.enc_n_heads),
            ("vision.crop_size", vision.crop_size, "vision.enc_patch_size", vision.enc_patch_size),
        ):
            if size % divisor:
                raise ValueError(f"{name} ({size}) is not divisible by {divisor_name} ({divisor})")
        if vision.window_px <= 0:
            raise ValueError(f"vision.overlap_margin {vision.overlap_margin} is at least half of a crop")
        if vision.proj_out_dim != text.dim:
            raise ValueError(f"vision.proj_out_dim is {vision.proj_out_dim} but text.dim is {text.dim}")
        if text.prefix_attn != 1 + vision.grid**2:
            raise ValueError(
                f"text.prefix_attn is {text.prefix_attn} but bos and a crop's patches take {1 + vision.grid**2}"
            )
        if not all(0 <= token < text.vocab_size for token in self.tokenizer.ids()):
            raise ValueError(f"a token id of the prompt templates is not below text.vocab_size ({text.vocab_size})")
        return self


def read_config(path: Path | None) -> MoondreamConfig:
    """Return the configuration in a checkpoint's `config.json`; moondream2's for None, and for values it leaves out.

    Raises ModelNotLoaded, naming the file and the first wrong value.
    """
    if path is None:
        return MoondreamConfig()
    try:
        return MoondreamConfig.model_validate(json.loads(path.read_text(encoding="utf-8")).get("config") or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "config"
        raise ModelNotLoaded(
            f"{path} is not a Moondream configuration: {key}: {first['msg']}. {RESTORE_ADVICE}"
        ) from error
    except (OSError, ValueError, AttributeError) as error:
        raise ModelNotLoaded(f"{path} cannot be read as a JSON object ({error}). {RESTORE_ADVICE}") from error
