"""The text reader's models, which lie inside the package rapidocr: where they are, and whether they are intact."""

import importlib.util
from importlib.metadata import version
from pathlib import Path

from deployments.errors import ModelNotLoaded
from deployments.settings import WeightsConfig
from deployments.text_reader.settings import TextReaderConfig
from deployments.weights.checkpoint import ModelCheckpoint
from deployments.weights.download import checksum

PACKAGE = "rapidocr"
DETECTION = "PP-OCRv6_det_small.onnx"
RECOGNITION = "PP-OCRv6_rec_small.onnx"
UPSIDE_DOWN = "ch_ppocr_mobile_v2.0_cls_mobile.onnx"
SHA256 = {
    DETECTION: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    RECOGNITION: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
    UPSIDE_DOWN: "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
}

MEMORY_BYTES = 700_000_000
"""Of the process with the models while it reads a page (measured); it ends when it is idle."""


def model_files() -> dict[str, Path]:
    """Return the path of each model, by its name; raises ModelNotLoaded if one is missing or damaged."""
    advice = "Install the project's packages again: `pip install --force-reinstall rapidocr`."
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotLoaded(f"The package {PACKAGE} is not installed. {advice}")
    folder = Path(spec.submodule_search_locations[0]) / "models"
    paths = {name: folder / name for name in SHA256}
    for name, path in paths.items():
        if not path.is_file():
            raise ModelNotLoaded(f"{path} is missing. {advice}")
        if checksum(path) != f"sha256:{SHA256[name]}":
            raise ModelNotLoaded(f"{path} is damaged: its checksum is wrong. {advice}")
    return paths


def describe(settings: TextReaderConfig, weights: WeightsConfig) -> ModelCheckpoint:
    """Return what the commands of `prism weights` need to know."""
    return ModelCheckpoint(
        capability="text_reader",
        settings=settings,
        precision="fp32",
        official=None,
        require_files=lambda: None if model_files() else None,
        memory_bytes=MEMORY_BYTES,
        memory_setting="text_reader.model",
        package=f"{PACKAGE} {version(PACKAGE)}",
    )
