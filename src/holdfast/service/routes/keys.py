"""Keys, for operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from holdfast.core.errors import DataError
from holdfast.service import keys
from holdfast.service.database import Key
from holdfast.service.errors import ApiError, missing
from holdfast.service.keys import Caller
from holdfast.service.routes.common import Here, errors, with_scope
from holdfast.service.shapes import Id, KeyObject, NewKey, Page

router = APIRouter(prefix="/v1/keys", tags=["Keys"])

Operator = Annotated[Caller, with_scope("operate")]


def shape(key: Key, secret: str | None = None) -> KeyObject:
    """A key as it is answered."""
    return KeyObject(
        id=key.id, name=key.name, scopes=list(key.scopes), created_at=key.created_at, revoked_at=key.revoked_at,
        secret=secret,
    )  # fmt: skip


@router.get("", responses=errors())
def list_keys(service: Here, caller: Operator) -> Page[KeyObject]:
    """All keys, without their secrets."""
    return Page(data=[shape(key) for key in keys.everyone(service.database)], has_more=False)


@router.post("", responses=errors())
def create(asked: NewKey, service: Here, caller: Operator) -> KeyObject:
    """Make a key. Its secret is in this answer, and nowhere else."""
    try:
        return shape(*keys.create(service.database, asked.name, asked.scopes))
    except DataError as error:
        raise ApiError(400, str(error), "invalid_value") from None


@router.delete("/{key_id}", responses=errors(404, 409))
def revoke(service: Here, caller: Operator, key_id: Id) -> KeyObject:
    """Revoke a key; not the one that this is asked with, lest nobody be left who can."""
    if key_id == caller.id:
        raise ApiError(409, "A key cannot revoke itself. `holdfast serve keys revoke` can.", "own_key")
    try:
        return shape(keys.revoke(service.database, key_id))
    except DataError:
        raise missing("key", key_id) from None
