"""One client for every server that speaks OpenAI's chat completions: vLLM, SGLang, Ollama, providers."""

from holdfast.models.endpoint.client import PostError, complete, post
from holdfast.models.endpoint.messages import Request, is_same_model
from holdfast.models.endpoint.retry import Timing
from holdfast.models.endpoint.settings import Connection, Endpoint, Price

__all__ = ["Connection", "Endpoint", "PostError", "Price", "Request", "Timing", "complete", "is_same_model", "post"]
