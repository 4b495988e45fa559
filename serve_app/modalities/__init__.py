"""The analysis of each kind of media, one module each, without HTTP."""

from typing import Any

from serve_app.modalities.audio import AUDIO
from serve_app.modalities.image import IMAGE
from serve_app.modalities.modality import Modality
from serve_app.modalities.video import VIDEO

MODALITIES: tuple[Modality[Any], ...] = (IMAGE, VIDEO, AUDIO)
