"""Models: listed, read, deleted, and released by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.orm import Session

from holdfast.service import jobs
from holdfast.service.database import Model, now
from holdfast.service.errors import ApiError, missing
from holdfast.service.keys import Caller
from holdfast.service.routes.common import Here, errors, with_scope
from holdfast.service.shapes import Deleted, Id, ModelObject, Page, Release
from holdfast.service.state import Service

router = APIRouter(prefix="/v1/models", tags=["Models"])

Reader = Annotated[Caller, with_scope("tune", "ask", "audit", "operate")]


def shape(model: Model) -> ModelObject:
    """A tuned model as it is answered."""
    return ModelObject(
        id=model.id, created=model.created_at, owned_by=model.owner,
        state=model.state, decision=model.decision or None, released_by=model.released_by,
    )  # fmt: skip


def sees(caller: Caller, model: Model) -> bool:
    """Whether the caller knows of a tuned model."""
    return model.owner == caller.id or caller.may("audit", "operate")


def find(session: Session, caller: Caller, name: str) -> Model:
    """A tuned model that the caller knows of.

    Raises:
        ApiError: there is none.
    """
    model = session.scalar(select(Model).where(Model.id == name, Model.deleted_at.is_(None)))
    if model is None or not sees(caller, model):
        raise missing("model", name)
    return model


def find_to_ask(service: Service, caller: Caller, name: str) -> tuple[str, Model | None]:
    """The base, and the tuned model where it is one, that the caller may ask.

    Raises:
        ApiError: there is none, or it is not released and the caller is no auditor.
    """
    if name in service.policy.bases:
        return name, None
    with service.database.reading() as session:
        known = session.scalar(select(Model).where(Model.id == name, Model.deleted_at.is_(None)))
    model = known if known and (known.owner == caller.id or caller.may("audit")) else None
    if model is None or model.base not in service.policy.bases:
        raise ApiError(404, f"There is no model {name[:100]!r} that this key can ask.", "model_not_found", "model")
    if model.state != "released" and not caller.may("audit"):
        why = model.decision.get("message", "it waits for its check.")
        raise ApiError(403, f"The model {name} is not released: {why}", "model_not_released", "model")
    return model.base, model


@router.get("", responses=errors())
def list_models(service: Here, caller: Reader) -> Page[ModelObject]:
    """The bases, and the tuned models that the key can see."""
    bases = [ModelObject(id=name, created=0, owned_by="holdfast") for name in service.policy.bases]
    query = select(Model).where(Model.deleted_at.is_(None)).order_by(Model.number)
    if not caller.may("audit", "operate"):
        query = query.where(Model.owner == caller.id)
    with service.database.reading() as session:
        tuned = [shape(model) for model in session.scalars(query)]
    return Page(data=bases + tuned, has_more=False)


@router.get("/{model}", responses=errors(404))
def retrieve(service: Here, caller: Reader, model: Id) -> ModelObject:
    """One model."""
    if model in service.policy.bases:
        return ModelObject(id=model, created=0, owned_by="holdfast")
    with service.database.reading() as session:
        return shape(find(session, caller, model))


@router.delete("/{model}", responses=errors(404))
async def delete(service: Here, caller: Annotated[Caller, with_scope("tune", "operate")], model: Id) -> Deleted:
    """Delete a tuned model: its weights go, its decision is kept."""
    if model in service.policy.bases:
        raise ApiError(403, f"{model} is a base of this service; it cannot be deleted.", "model_not_deletable")
    gone = await run_in_threadpool(_mark_deleted, service, caller, model)
    await service.engine.forget(service.checkpoint(gone.base, gone))
    await run_in_threadpool(remove_weights, service, gone)
    return Deleted(id=model, object="model")


def _mark_deleted(service: Service, caller: Caller, name: str) -> Model:
    with service.database.writing() as session:
        model = find(session, caller, name)
        if model.owner != caller.id and not caller.sees_all:
            raise missing("model", name)
        model.deleted_at = now()
        return model


def remove_weights(service: Service, model: Model) -> None:
    """Remove a deleted model's folder, unless another model lies in it."""
    import shutil

    with service.database.reading() as session:
        others = select(Model.id).where(Model.folder == model.folder, Model.deleted_at.is_(None))
        if session.scalar(others) is not None:
            return
    folder = (service.folder / model.folder).resolve()
    if service.folder.resolve() in folder.parents:
        shutil.rmtree(folder, ignore_errors=True)


@router.post("/{model}/release", responses=errors(404, 409))
def release_by_hand(
    request: Request, asked: Release, service: Here, caller: Annotated[Caller, with_scope("operate")], model: Id
) -> ModelObject:
    """Release a model that the check held back. Who did so, and why, is recorded."""
    with service.database.writing() as session:
        found = find(session, caller, model)
        if found.state == "released":
            raise ApiError(409, f"{model} is released already.", "already_released")
        jobs.release(session, found, caller.id, asked.reason)
        return shape(found)
