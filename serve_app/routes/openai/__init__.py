"""Routes that are compatible with OpenAI's API, for the clients of that: recordings, pictures and vectors."""

from fastapi import APIRouter

from serve_app.routes.openai import audio, chat, embeddings, models

router = APIRouter()
for _module in (models, audio, chat, embeddings):
    router.include_router(_module.router)
