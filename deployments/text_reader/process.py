"""Loads PP-OCR in the process of deployments/model_process.py, which the replica ends when nothing is read."""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import psutil

from deployments.cancellation import Cancellation
from deployments.malloc import reuse_freed_memory
from deployments.media import Pixels
from deployments.model_loader import ReportProgress
from deployments.text_reader.models import OcrModels
from deployments.text_reader.reader import TextReader
from deployments.text_reader.settings import TextReaderConfig
from deployments.text_reader.types import ReaderFacts, ReadImage
from deployments.text_reader.weights import model_files


def load(
    settings: Mapping[str, Any], report: ReportProgress
) -> tuple[Callable[[Pixels, Cancellation], ReadImage], ReaderFacts]:
    """Return the function that reads a picture, and facts about the models; raises ModelNotLoaded if one is missing or
    damaged."""
    config = TextReaderConfig(**settings)
    report("checking the models")
    paths = model_files()
    num_threads = config.threads or max(1, (psutil.cpu_count(logical=False) or 1) // 2)
    cv2.setNumThreads(1)
    report("warming up")
    reader = TextReader(OcrModels(paths, num_threads))
    reuse_freed_memory()
    return reader.read, ReaderFacts(sum(path.stat().st_size for path in paths.values()), num_threads)
