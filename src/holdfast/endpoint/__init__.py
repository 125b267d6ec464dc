"""One client for every server that speaks OpenAI's chat completions: vLLM, SGLang, Ollama, providers."""

from holdfast.endpoint.attempts import Timing
from holdfast.endpoint.client import Endpoint, PostError, Price
from holdfast.endpoint.wire import Reply, Request, is_same_model

__all__ = ["Endpoint", "PostError", "Price", "Reply", "Request", "Timing", "is_same_model"]
