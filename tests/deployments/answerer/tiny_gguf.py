"""A language model of less than 1 MB in llama.cpp's file format, which says the same words to every prompt.

It is a Markov chain in the form of a Llama: one-hot embeddings, a block whose weights are zero, and an output matrix
that holds which token follows which. So it goes through the same code as a real model, is deterministic, and a test
knows what it says.
"""

from pathlib import Path

import gguf
import numpy as np

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_NUM_HEADS = 4


def write_model(path: Path, reply: str, *, is_endless: bool = False, feed_forward: int = 32) -> Path:
    """Write a model that answers every prompt with `reply`, again and again if `is_endless`.

    `feed_forward`, the width of its layer of zeros, makes it larger: 1.7 kB for each.
    """
    letters = _byte_tokens()
    words = [word if number == 0 else f" {word}" for number, word in enumerate(reply.split(" "))]
    tokens = [*letters, *_SPECIAL, *("".join(letters[byte] for byte in word.encode()) for word in words)]
    first_word = len(letters) + len(_SPECIAL)
    end = tokens.index("<|im_end|>")
    follower = np.full(len(tokens), first_word)  # the last token of each prompt is a line break
    follower[first_word:] = [*range(first_word + 1, len(tokens)), first_word if is_endless else end]

    size = -(-len(tokens) // 32) * 32
    embeddings, output = np.zeros((2, len(tokens), size), np.float32)
    np.fill_diagonal(embeddings, 1)
    output[follower, np.arange(len(tokens))] = 1
    writer = gguf.GGUFWriter(path, "llama")
    _write_sizes(writer, size, feed_forward)
    _write_tokenizer(writer, tokens, letters, words, end)
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output.weight", output)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((size, size), np.float16))
    for name in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((feed_forward, size), np.float16))
    writer.add_tensor("blk.0.ffn_down.weight", np.zeros((size, feed_forward), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_sizes(writer: gguf.GGUFWriter, size: int, feed_forward: int) -> None:
    writer.add_context_length(8192)
    writer.add_embedding_length(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(_NUM_HEADS)
    writer.add_head_count_kv(_NUM_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)


def _write_tokenizer(
    writer: gguf.GGUFWriter, tokens: list[str], letters: list[str], words: list[str], end: int
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    types = [gguf.TokenType.NORMAL] * len(letters) + [gguf.TokenType.CONTROL] * len(_SPECIAL)
    writer.add_token_types(types + [gguf.TokenType.NORMAL] * len(words))
    # No merge leads to a word, so prompts are bytes.
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _byte_tokens() -> list[str]:
    """Return GPT-2's printable stand-in for each byte: itself if it is printable, else a letter from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
