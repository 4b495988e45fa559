"""Loads the model that tells speakers apart, when the first request needs it."""

import time
from functools import partial
from typing import TYPE_CHECKING

from deployments.model_loader import LoadedModel, ModelLoader, ReportProgress
from deployments.settings import WeightsConfig
from deployments.transcriber.speakers.settings import SpeakersConfig

if TYPE_CHECKING:
    from deployments.transcriber.speakers.labeler import SpeakerLabeler

MAX_LOAD_WAIT_S = 15.0
"""A call waits so long, which is enough to load the model; a download may take longer, and then the caller gets its
progress instead."""


def speakers_loader(config: SpeakersConfig, weights: WeightsConfig) -> "ModelLoader[SpeakerLabeler]":
    return ModelLoader(config.name, partial(_load, config, weights), lazy=True, is_miniature=config.is_miniature)


async def get_labeler(loader: "ModelLoader[SpeakerLabeler]", deadline: float) -> "SpeakerLabeler":
    """Return the model; raises ModelLoading with the progress, or ModelNotLoaded with the reason."""
    return await loader.get(min(deadline, time.time() + MAX_LOAD_WAIT_S))


def _load(config: SpeakersConfig, weights: WeightsConfig, report: ReportProgress) -> "LoadedModel[SpeakerLabeler]":
    # Imported here, because torch takes seconds, and processes that only refer to the deployment import this module.
    import torch

    from deployments.transcriber.speakers.labeler import load_labeler
    from deployments.transcriber.speakers.weights import ensure_campplus

    file = ensure_campplus(config, weights.cache_dir, report)
    labeler = load_labeler(file.path)
    return LoadedModel(
        labeler, revision=file.revision, weight_bytes=labeler.weight_bytes, threads=torch.get_num_threads()
    )
