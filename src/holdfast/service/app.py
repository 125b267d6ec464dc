"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from sqlalchemy import select
from starlette.exceptions import HTTPException

from holdfast.core.version import __version__
from holdfast.service.batches import BatchRunner
from holdfast.service.database import File
from holdfast.service.errors import ApiError, invalid
from holdfast.service.gateway import Gateway
from holdfast.service.keys import recognise
from holdfast.service.routes import batches, chat, console, files, health, jobs, keys, models
from holdfast.service.state import Service

ROUTERS = (
    files.router,
    jobs.router,
    chat.router,
    batches.router,
    models.router,
    keys.router,
    health.router,
    console.router,
)


def create_app(service: Service) -> FastAPI:
    """The application that answers for a service."""
    app = FastAPI(
        title="Holdfast", version=__version__, docs_url=None, redoc_url=None, lifespan=_lifespan,
        description="A fine-tuning service that speaks OpenAI's API, and looks before it releases.",
    )  # fmt: skip
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(
        Gateway, limits=service.policy.limits, faults=service.policy.test_faults, metrics=service.metrics,
        recognise=partial(recognise, service.database),
    )  # fmt: skip
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Answer batches beside the requests, and end in order."""
    service: Service = app.state.service
    runner = BatchRunner(service)
    await asyncio.to_thread(service.store.sweep, lambda: _known_files(service))
    task = asyncio.create_task(runner.run())
    try:
        yield
    finally:
        service.stopping = True
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(runner.give_back)
        await service.engine.close()
        service.database.close()


def _known_files(service: Service) -> set[str]:
    with service.database.reading() as session:
        return set(session.scalars(select(File.id)))


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    """Any error that a request can be blamed for, in OpenAI's form."""
    if isinstance(error, RequestValidationError):
        error = invalid(list(error.errors()))
    elif isinstance(error, HTTPException):
        said = {404: "There is no such route.", 405: "This route does not take this method."}
        message = said.get(error.status_code, str(error.detail))
        refused = ApiError(error.status_code, message, {404: "unknown_url"}.get(error.status_code, "invalid_request"))
        if error.status_code == 405:
            refused.headers["Allow"] = ", ".join(_methods(request))
        error = refused
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status, error.headers)


def _methods(request: Request) -> list[str]:
    """The methods that a path takes."""
    api: dict[str, Any] = request.app.openapi()
    path = request.scope["path"]
    fitting = [methods for shown, methods in api["paths"].items() if _fits(shown, path)]
    return sorted(method.upper() for methods in fitting for method in methods) or ["GET"]


def _fits(shown: str, path: str) -> bool:
    """Whether a path is one of those that the API shows as `/v1/files/{file_id}`."""
    return bool(re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(shown)), path.rstrip("/")))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The API as OpenAPI describes it: our errors in place of FastAPI's."""
    if app.openapi_schema:
        return app.openapi_schema
    api = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for methods in api["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        api["components"]["schemas"].pop(name, None)
    app.openapi_schema = api
    return api
