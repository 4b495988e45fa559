"""How the miniature checkpoints were made; no part of the product imports these packages."""
