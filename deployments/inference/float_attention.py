"""Attention in the precision of its inputs, computed by torch."""

from torch import Tensor
from torch.nn import functional


def attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return scaled dot-product attention, shaped as the queries: (..., num_heads, n, head_dim).

    Keys and values have shape (..., num_kv_heads, num_keys, head_dim); num_heads is a multiple of num_kv_heads. `mask`,
    bool of shape (n, num_keys), is true where a query may attend to a key.
    """
    is_grouped = keys.shape[-3] != queries.shape[-3]
    if queries.ndim == 3:
        return attention(queries[None], keys[None], values[None], mask)[0]
    return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=is_grouped)
