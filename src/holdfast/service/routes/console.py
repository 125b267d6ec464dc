"""The console page: HTML without a framework, which works without its script too."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError
from sqlalchemy import select
from starlette.datastructures import FormData

from holdfast.core.errors import DataError
from holdfast.service import console, keys
from holdfast.service.database import Job
from holdfast.service.errors import ApiError
from holdfast.service.routes import jobs, models
from holdfast.service.routes.common import Here, visible
from holdfast.service.sessions import COOKIE, LONGEST, SignedIn
from holdfast.service.shapes import Release
from holdfast.service.state import Service

router = APIRouter(include_in_schema=False)

ACTS = {"cancel": jobs.cancel, "pause": jobs.pause, "resume": jobs.resume}


def _session(request: Request, service: Service) -> SignedIn | None:
    return service.sessions.of(service.database, request.cookies.get(COOKIE))


@cache
def _policy() -> str:
    """What the page may load: its own styles and script, and itself."""
    made = console.environment().globals
    hashes = {name: _hash(str(made[name])) for name in ("style", "own_style", "script")}
    return (
        f"default-src 'none'; style-src {hashes['style']} {hashes['own_style']}; style-src-attr 'unsafe-inline'; "
        f"script-src {hashes['script']}; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _html(template: str, status: int = 200, **content: Any) -> HTMLResponse:
    text = console.environment().get_template(template).render(**content)
    headers = {
        "Content-Security-Policy": _policy(), "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    return HTMLResponse(text, status, headers)


def _overview(
    service: Service, session: SignedIn | None, said: str = "", secret: str = "", status: int = 200
) -> Response:  # fmt: skip
    with service.database.reading() as reading:
        page = console.overview(reading, service.policy, session.caller if session else None)
    token = session.token if session else ""
    return _html("console.html.j2", status, page=page, token=token, said=said, secret=secret, scopes=keys.SCOPES)


def _job(service: Service, session: SignedIn, job_id: str, said: str = "", status: int = 200) -> Response:
    with service.database.reading() as reading:
        job = reading.scalar(visible(select(Job).where(Job.id == job_id), Job, session.caller))
        if job is None:
            return _overview(service, session, "There is no such job that this key can see.", status=404)
        page = console.one_job(reading, service.policy, session.caller, job)
    return _html("console_job.html.j2", status, page=page, token=session.token, said=said)


@router.get("/")
def show(request: Request, service: Here) -> Response:
    """All jobs, uploads and keys that the session's key sees."""
    return _overview(service, _session(request, service))


@router.get("/console/jobs/{job_id}")
def show_job(request: Request, service: Here, job_id: str) -> Response:
    """One job."""
    session = _session(request, service)
    return _job(service, session, job_id) if session else RedirectResponse("/", 303)


@router.post("/console/{path:path}")
async def act(request: Request, service: Here, path: str) -> Response:
    """What a form of the page asks for."""
    form = await request.form(max_files=0, max_fields=20, max_part_size=4096)
    return await run_in_threadpool(_act, request, service, path.split("/"), form)


def _act(request: Request, service: Service, path: list[str], form: FormData) -> Response:
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return _overview(service, None, "This came from another page. Use the form of this one.", status=403)
    if path == ["sign-in"]:
        return _sign_in(request, service, str(form.get("key", "")))
    session = _session(request, service)
    if session is None or form.get("token") != session.token:
        return _overview(service, session, "The session has ended. Sign in again.", status=403)
    if path == ["sign-out"]:
        service.sessions.end(request.cookies.get(COOKIE))
        return RedirectResponse("/", 303)
    if not session.caller.sees_all:
        return _overview(service, session, "This needs an operator's key.", status=403)
    try:
        return _operate(request, service, session, path, form)
    except ApiError as error:
        return _overview(service, session, error.message, status=error.status)
    except (DataError, ValidationError) as error:
        said = str(error) if isinstance(error, DataError) else "Say why, in at most 500 characters."
        return _overview(service, session, said, status=400)


def _operate(request: Request, service: Service, session: SignedIn, path: list[str], form: FormData) -> Response:
    """What only an operator may do.

    Raises:
        ApiError, DataError, ValidationError: it cannot be done.
    """
    match path:
        case ["jobs", job_id, how] if how in ACTS:
            ACTS[how](service, session.caller, job_id)
            return RedirectResponse(f"/console/jobs/{job_id}", 303)
        case ["models", "release"]:
            reason = Release(reason=str(form.get("reason", "")).strip())
            models.release_by_hand(request, reason, service, session.caller, str(form.get("model", "")))
            return RedirectResponse(f"/console/jobs/{form.get('job', '')}", 303)
        case ["keys"]:
            _, secret = keys.create(
                service.database, str(form.get("name", "")), [str(scope) for scope in form.getlist("scope")]
            )
            return _overview(service, session, secret=secret)
        case ["keys", key_id, "revoke"]:
            keys.revoke(service.database, key_id)
            return RedirectResponse("/", 303)
    return _overview(service, session, "There is no such form.", status=404)


def _sign_in(request: Request, service: Service, secret: str) -> Response:
    cookie = service.sessions.begin(service.database, secret.strip())
    if cookie is None:
        return _overview(service, None, "The key is unknown or revoked.", status=403)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE, cookie, max_age=int(LONGEST), httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return answer
