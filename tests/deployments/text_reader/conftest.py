import cv2
import pytest

from deployments.text_reader.models import OcrModels
from deployments.text_reader.reader import TextReader
from deployments.text_reader.weights import model_files


@pytest.fixture(scope="session")
def reader() -> TextReader:
    cv2.setNumThreads(1)
    return TextReader(OcrModels(model_files(), 1))
