"""A sound that is the same on every machine."""

import numpy as np
from numpy.typing import NDArray


def sound(num_samples: int = 4_000, pitch_hz: float = 140.0) -> NDArray[np.float32]:
    """Return overtones of a gliding pitch, soft at first, with silence at the end."""
    seconds = np.arange(num_samples) / 16_000
    phase = 2 * np.pi * pitch_hz * (seconds + seconds**2)
    tones = sum(np.sin(number * phase) / number for number in range(1, 40))
    envelope = np.minimum(1, 20 * seconds) * (seconds < 0.9 * seconds[-1])
    return (0.1 * tones * envelope).astype(np.float32)
