"""The graph, bound in this one place.

    browser, curl ──HTTP──> Serve's proxy ──> Ingress (FastAPI)
                                                │
                      video ──> FrameSampler <──┤
                      frames, pictures ──> Captioner <──┤   frames come back to the Ingress, which fans them out
                      sound ──> Transcriber <───┘

`serve run serve_config.yaml` calls `build_app` with the YAML's `args:`, validated into AppConfig. Postponed annotations
(`from __future__ import annotations`) must stay out of this file: Serve looks at the parameter's type itself.
"""

from typing import Any, cast

from ray.serve import Application, Deployment

from deployments.captioner.deployment import CaptionerDeployment
from deployments.frame_sampler.deployment import FrameSamplerDeployment
from deployments.transcriber.deployment import TranscriberDeployment
from serve_app.ingress import Ingress
from serve_app.settings import AppConfig


def build_app(config: AppConfig) -> Application:
    """Return the bound graph: one captioner, one transcriber, one frame sampler behind the ingress."""

    def bind(deployment: object, *args: Any, **kwargs: Any) -> Application:
        # To mypy a decorated class stays the class it was; what `serve.deployment` made of it is a Deployment.
        # One access line a request, the ingress's: the others would be buried under health's questions.
        logging_config = {"log_level": config.serving.log_level, "enable_access_log": deployment is Ingress}
        return cast(Deployment, deployment).options(logging_config=logging_config).bind(*args, **kwargs)

    lazy = config.serving.lazy_loading
    return bind(
        Ingress,
        bind(CaptionerDeployment, config.captioner, config.weights, config.limits, lazy=lazy),
        bind(TranscriberDeployment, config.transcriber, config.weights, lazy=lazy),
        bind(FrameSamplerDeployment, config.frame_sampler),
        config,
    )
