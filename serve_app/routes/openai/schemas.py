"""The bodies of the answers of OpenAI's API, as far as the models here can fill them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema


class Model(BaseModel):
    id: str = Field(examples=["moondream2"])
    object: Literal["model"] = "model"
    created: int = Field(description="When this server was started, in epoch seconds.")
    owned_by: Literal["local"] = "local"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class DurationUsage(BaseModel):
    type: Literal["duration"] = "duration"
    seconds: float = Field(description="Of the recording.", examples=[45.2])


class Transcription(BaseModel):
    text: str = Field(examples=["Hello, this is a test."])
    usage: DurationUsage


class TranscribedSegment(BaseModel):
    id: int = Field(description="From 0.")
    seek: int = Field(description="Where its window starts in the recording, in frames of 10 ms.")
    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float = Field(description="This and the next two are those of the window that the segment is from.")
    compression_ratio: float
    no_speech_prob: float


class TranscribedWord(BaseModel):
    word: str
    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")


class VerboseTranscription(BaseModel):
    task: Literal["transcribe", "translate"]
    language: str = Field(
        description="The English name of the language that is spoken, in lower case; `und` if nobody speaks and none "
        "was asked for.",
        examples=["english"],
    )
    duration: float = Field(description="Seconds.", examples=[45.2])
    text: str
    segments: list[TranscribedSegment] | SkipJsonSchema[None] = Field(
        None, description="Unless only words are asked for."
    )
    words: list[TranscribedWord] | SkipJsonSchema[None] = Field(None, description="If words are asked for.")
    usage: DurationUsage


class TokenUsage(BaseModel):
    prompt_tokens: int = Field(description="Of the picture and the question.", examples=[740])
    completion_tokens: int = Field(examples=[12])
    total_tokens: int = Field(examples=[752])


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str = Field(examples=["A brown dog sleeps on a blue sofa."])
    refusal: None = None


FinishReason = Annotated[
    Literal["stop", "length"], Field(description="`length`: the text was cut off at `max_completion_tokens`.")
]


class Choice(BaseModel):
    index: Literal[0] = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    id: str = Field(examples=["chatcmpl-3f2a"])
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(description="Epoch seconds.")
    model: str = Field(examples=["moondream2"])
    choices: list[Choice] = Field(min_length=1, max_length=1)
    usage: TokenUsage


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(
        description="384 numbers, whose squares sum to 1; with `base64`, these as 32-bit floats, little-endian."
    )


class EmbeddingUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding] = Field(description="One for each text, in the same order.")
    model: str = Field(examples=["all-MiniLM-L6-v2"])
    usage: EmbeddingUsage
