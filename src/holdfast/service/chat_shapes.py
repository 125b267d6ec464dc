"""OpenAI's chat completions: what requests hold, and what is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from holdfast.service.shapes import Asked, Given, Metadata, Text


class TextPart(Asked):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class ChatMessage(Asked):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=100)]
    name: Text | None = None

    @property
    def text(self) -> str:
        """The text of the turn."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class TextFormat(Asked):
    """Plain text, the only form of answers."""

    type: Literal["text"]


class StreamOptions(Asked):
    """What a stream brings beside its text."""

    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False


class NewChat(Asked):
    """A conversation that is to be answered. What cannot be done is refused; only its neutral value is taken."""

    model: Annotated[Text, Field(max_length=255)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, strict=True)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**53), le=2**53)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logprobs: Literal[False] | None = None
    response_format: TextFormat | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    user: Text | None = None
    safety_identifier: Text | None = None
    metadata: Metadata | None = None


class Usage(Given):
    """What an answer took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(Given):
    """The answer's turn."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None


class Choice(Given):
    """One answer."""

    index: int = 0
    message: AnswerMessage
    finish_reason: Literal["stop", "length", "content_filter"]
    logprobs: None = None


class ChatCompletion(Given):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str | None = None
