"""Training recipes of the miniature checkpoints. The product does not import them."""
