"""Int8 inference on a CPU: layers, KV caches and the kernels behind them, shared by the models.

One decode step of the captioner in int8, on a CPU with VNNI (`captioner/moondream.py` is the caller):

1. **Token ids to hidden states.** `Int8Embedding` (`int8_layers.py`) looks up int8 rows and multiplies each with its
   scale. The hidden states are fp32, (num_sequences, dim); they stay fp32 between all blocks.
2. **Positions.** `Rotary` (`rotary.py`) returns fp32 cosines and sines, once for all blocks.
3. **A block** is one call of a compiled function: `Int8ParallelBlock` (`int8_layers.py`) holds the weights, and
   `fused_parallel_block` (`fused_block.py`) does steps 4 to 6. `Int8Cache.cache_table` tells it where each sequence's
   KV cache is.
4. **Layer norm** in fp32, then quantization to int8 with a scale per token (`quantize_small_batch`). The same int8
   tokens go through fc1 with GELU and through qkv. Each is `multiply_small_batch` (`small_batch.py`): int8 weights
   (out, in), with a scale per output channel, times int8 tokens, summed in int32 by the instruction VPDPBUSD
   (`vnni.py`), then dequantized to fp32. Threads split the output channels. One operand of VPDPBUSD is unsigned, so
   128 is added to each weight; `zero_point_correction` is what that adds to the sums, and is subtracted.
5. **Attention**, `append_and_attend_kernel` (`int8_attention.py`). Threads split the jobs, one for each KV head of each
   sequence. A job rotates the new key, quantizes key and value, and appends them to the KV cache (layout: `Int8Cache`
   in `kv_cache.py`). Then it rotates and quantizes the queries. Their products with the keys are int32, softmax is
   fp32, its weights are quantized to 16 bits, and the weighted sums of the values are int32 again. The output is fp32.
6. The output of attention and that of fc1 are quantized per token and multiplied by proj and fc2; both results are
   added to the block's input in fp32.
7. **Logits.** After the last block the model increases `length` of each cache, applies the last layer norm in fp32, and
   `Int8Linear` as `lm_head` returns fp32 logits, (num_sequences, vocab).

Prefill has too many tokens for these kernels. `Int8Linear` then quantizes them in parallel (`quantize_per_token` in
`quantization.py`), has oneDNN multiply them (`int8_matmul.py`), and dequantizes the products. In `Int8FeedForward`,
GELU and the next quantization are done in one pass (`gelu_quantize`). Attention runs in fp32 (`float_attention.py`),
and `Int8Cache.write` stores the keys and values of all positions. In Whisper's encoder, which has no mask, attention
runs in integers where our kernels are used (`int8_full_attention.py`).

Without VNNI, or with the setting `kernel: onednn`, a decode step calls the layers one by one, each as in prefill, and
attention (step 5) on its own; without VNNI, attention uses `portable_key_products` and `portable_weighted_values`. In
bf16 and fp32 the models use torch's own layers and `FloatCache`. Whisper's decoder (`transcriber/int8.py`) also calls
the layers one by one; each of its windows has a second cache, for the keys and values of cross-attention.

A kernel is a function that numba compiles (`jit.py`; the arithmetic that kernels share is in `numba_math.py`). This is
done ahead of time in another process (`precompile.py`), into a folder from which later starts load them
(`kernel_cache.py`).
"""
