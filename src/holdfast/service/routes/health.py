"""Whether the service is up, what Prometheus reads, and the documentation of the API as a plain page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select

from holdfast.service.database import Batch, Job
from holdfast.service.errors import ApiError
from holdfast.service.routes.common import Here
from holdfast.service.shapes import ErrorBody
from holdfast.service.state import Service

router = APIRouter(tags=["Operation"])

TEMPLATES = Path(__file__).parents[1] / "templates"


@router.get("/healthz")
async def is_alive() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get(
    "/readyz", responses={503: {"model": ErrorBody, "description": "Something that it needs cannot be reached."}}
)
def is_ready(service: Here) -> dict[str, str]:
    """Whether requests can be answered: the database and the place of the files can be reached."""
    if service.stopping:
        raise ApiError(503, "The service is stopping.", "stopping")
    try:
        with service.database.reading() as session:
            session.scalar(select(1))
        reached = service.store.works()
    except Exception:
        raise ApiError(503, "The database cannot be reached.", "not_ready") from None
    if not reached:
        raise ApiError(503, "The place of the files cannot be reached.", "not_ready")
    return {"status": "ready"}


def _count(service: Service) -> bytes:
    with service.database.reading() as session:
        for gauge, table in ((service.metrics.jobs, Job), (service.metrics.batches, Batch)):
            gauge.clear()
            for status, number in session.execute(select(table.status, func.count()).group_by(table.status)):
                gauge.labels(status).set(number)
    return generate_latest(service.metrics.registry)


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
async def metrics(service: Here) -> Response:
    """What Prometheus reads."""
    return Response(await run_in_threadpool(_count, service), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The API's documentation. It loads nothing from elsewhere."""
    page = _template().render(api=request.app.openapi(), operations=_operations(request.app.openapi()))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _operations(api: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Tag → its operations, each with what it takes and answers."""
    by_tag: dict[str, list[dict[str, Any]]] = {}
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            taken = operation.get("requestBody", {}).get("content", {})
            shown = {
                **operation,
                "path": path,
                "method": method.upper(),
                "takes": [_name(body) for body in taken.values()],
            }
            by_tag.setdefault(operation["tags"][0], []).append(shown)
    return by_tag


def _name(body: dict[str, Any]) -> str:
    return str(body["schema"].get("$ref", "a form")).rsplit("/", 1)[-1]


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("docs.html")
