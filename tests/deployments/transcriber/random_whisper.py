"""A small Whisper with random weights, in openai-whisper's own format, for comparisons with the package itself.

Different audio gives different words, because the weights are large enough for the output to depend on the input. Texts
end and have timestamps, because the first dimensions of the decoder's hidden state have no random weights: there only
the token position counts. It raises the logits of timestamps every few tokens, and raises the logit of the end token
more with every token.
"""

import re
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

DIMENSIONS = ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=64,
    n_audio_head=2,
    n_audio_layer=2,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=64,
    n_text_head=2,
    n_text_layer=2,
)

WORDS = """a about above across after again air all along also always and animal answer any apple around ask at away
back ball be beautiful before begin behind below best better between big bird blue boat body book both
bottom box boy bread bring brother brown build but by call came can car carry cat center chair child
children circle city clean clear climb close cloud cold color come cook cool corn could count country cover
cross cut dance dark day deep dog door down draw dream drive drop dry early earth east easy eat egg eight
end evening every eye face fair fall family far farm fast father few field find fine fire fish five flat
floor flow flower fly follow food foot forest four free fresh friend from front fruit full game garden gave
give glass go gold good grass gray great green ground group grow"""
"""Each is one token. The embeddings of other text tokens are too small for them to be chosen."""

END, TIMESTAMP, EARLY = 0, 1, 2
"""Dimensions of the hidden state that raise the logits of the end, of timestamps, and of early timestamps."""
FIRST_RANDOM = 3
"""The dimensions from here on have random weights."""
POSITION_GAINS = (36.0, 30.0, 300.0)
"""Weights of the last layer norm for END, TIMESTAMP and EARLY."""
RANDOM_GAIN = 1.2
"""Weight for all other dimensions: so large that one word is clearly the most probable, and windows are rarely decoded
again."""

TOKENS_PER_WINDOW = 20
"""The end token becomes more probable up to this token and beyond; texts end somewhat later."""
TOKENS_PER_TIMESTAMP = 9

NUM_PREFIX_TOKENS = 3
"""Start of transcript, language and task."""


def write_whisper(path: Path, seed: int) -> None:
    """Write `dims` and `model_state_dict` (fp16, multilingual, 7 MB) to `path`, for `whisper.load_model(path)`."""
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = Whisper(DIMENSIONS).state_dict()
    for key, weight in weights.items():
        if key != "encoder.positional_embedding":
            weights[key] = _random_weight(key, weight.shape, generator)
    _add_timestamps_and_end(weights, generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"dims": asdict(DIMENSIONS), "model_state_dict": {key: weight.half() for key, weight in weights.items()}}, path
    )


def _random_weight(key: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return normally distributed weights with standard deviation gain / sqrt(num_inputs)."""
    if re.search(r"(_ln|ln_post|\.ln)\.", key):
        return torch.ones(shape) if key.endswith("weight") else torch.zeros(shape)
    weight = torch.randn(shape, generator=generator)
    if key == "decoder.token_embedding.weight":
        pass
    elif key == "decoder.positional_embedding":
        weight *= 1.2
    elif weight.ndim == 1:
        weight *= 0.1
    else:
        weight *= _gain(key) / weight[0].numel() ** 0.5
    if re.search(r"^decoder.*(attn\.out|mlp\.2)\.", key):
        weight[:FIRST_RANDOM] = 0
    return weight


def _gain(key: str) -> float:
    if ".query." in key or ".key." in key:
        return 3.0  # sharp attention, so that short sounds are not averaged away
    if "cross_attn.out" in key:
        return 1.5
    return 1.6 if key.startswith("encoder") else 1.2


def _add_timestamps_and_end(weights: dict[str, Tensor], generator: torch.Generator) -> None:
    tokenizer = get_tokenizer(multilingual=True, num_languages=99)
    embedding = weights["decoder.token_embedding.weight"]
    scale = torch.full((DIMENSIONS.n_vocab, 1), 0.05)
    scale[[tokenizer.encode(f" {word}")[0] for word in WORDS.split()]] = 1
    scale[list(tokenizer.all_language_tokens)] = 0.3
    scale[tokenizer.timestamp_begin :] = 1
    embedding *= scale
    embedding[:, :FIRST_RANDOM] = 0
    embedding[tokenizer.eot] = 0
    embedding[tokenizer.eot, END] = 1
    embedding[tokenizer.timestamp_begin :, TIMESTAMP] = 1
    embedding[tokenizer.timestamp_begin :, EARLY] = -torch.linspace(0, 1, DIMENSIONS.n_audio_ctx + 1)

    position = torch.arange(DIMENSIONS.n_text_ctx) - NUM_PREFIX_TOKENS
    positional = weights["decoder.positional_embedding"]
    positional[:, END] = 2 * position / TOKENS_PER_WINDOW - 1
    positional[:, TIMESTAMP] = torch.where((position > 0) & (position % TOKENS_PER_TIMESTAMP == 0), 1.0, -1.0)
    positional[:, EARLY] = 1

    # Input and output embeddings are shared; random signs keep a word from predicting itself.
    signs = torch.randn(DIMENSIONS.n_text_state, generator=generator).sign()
    weights["decoder.ln.weight"] = RANDOM_GAIN * signs
    weights["decoder.ln.weight"][:FIRST_RANDOM] = torch.tensor(POSITION_GAINS)
