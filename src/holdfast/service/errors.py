"""Errors in OpenAI's form, each with the status by which the openai SDK chooses its exception."""

from __future__ import annotations

from typing import Any

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
"""Status → `type` of the error body."""


class ApiError(Exception):
    """An answer that says what was wrong, and how to mend it."""

    def __init__(
        self, status: int, message: str, code: str | None = None, param: str | None = None,
        retry_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers: dict[str, str] = {}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after)))

    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def missing(what: str, name: str) -> ApiError:
    """A 404, the same for what is not there and for what belongs to another key."""
    return ApiError(404, f"There is no {what} {name[:100]!r} that this key can see.", "not_found")


def invalid(problems: list[Any]) -> ApiError:
    """The first of pydantic's complaints about a request, without the value: it may be a prompt."""
    problem = problems[0]
    place = [str(part) for part in problem["loc"]]
    if place[0] == "path":
        return ApiError(404, "There is no object with such an id.", "not_found")
    param = ".".join(part for part in place[1:] if not part.startswith(("function-", "constrained-"))) or None
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        message = "It is missing." if param else "The request has no JSON body (Content-Type: application/json)."
    elif problem["type"] == "extra_forbidden":
        message = "This service does not know it. Leave it out."
    elif problem["type"] == "json_invalid":
        return ApiError(400, "The body is not valid JSON.", "invalid_json")
    return ApiError(400, f"{param}: {message}" if param else message, "invalid_value", param)
