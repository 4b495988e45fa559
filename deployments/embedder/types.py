"""Results of the embedder; these values cross process boundaries."""

import numpy as np
from numpy.typing import NDArray

VECTOR_DIM = 384

Vectors = NDArray[np.float32]
"""Shape (num_texts, VECTOR_DIM); each row has length 1, so that a dot product is a cosine."""
