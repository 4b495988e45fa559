"""Makes reference.json: filter bank features by Kaldi's code and a vector by 3D-Speaker's, to compare ours with.

In the project's folder, with 3D-Speaker's repository in FOLDER_OF_3D_SPEAKER (commit 09e7806):

    pip install kaldi-native-fbank==1.23.0
    python -m tests.data.speakers.make_reference FOLDER_OF_3D_SPEAKER
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.data.speakers.sound import sound
from tests.deployments.transcriber.random_campplus import SIZES, random_weights


def main(folder: str) -> None:
    sys.path.insert(0, folder)
    from speakerlab.models.campplus.DTDNN import CAMPPlus  # type: ignore[import-not-found]

    bands = kaldi_bands(sound())
    growth = SIZES.growth
    network = CAMPPlus(80, SIZES.vector_dim, growth, bn_size=SIZES.bottleneck // growth, init_channels=SIZES.channels)
    network.load_state_dict(random_weights())
    features = torch.from_numpy(bands - bands.mean(0))
    with torch.inference_mode():
        vector = network.eval()(features[None])[0]
    reference = {"bands": bands.round(4).tolist(), "vector": [round(value, 5) for value in vector.tolist()]}
    (Path(__file__).parent / "reference.json").write_text(json.dumps(reference) + "\n")


def kaldi_bands(samples: Any) -> Any:
    import kaldi_native_fbank  # type: ignore[import-not-found]

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(16_000, samples.tolist())
    return np.stack([computer.get_frame(frame) for frame in range(computer.num_frames_ready)])


if __name__ == "__main__":
    main(sys.argv[1])
