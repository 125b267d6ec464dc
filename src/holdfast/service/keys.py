"""API keys: made, listed, revoked, and recognised. Only a hash of a key is kept."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import bindparam, select

from holdfast.core.errors import DataError
from holdfast.core.files import did_you_mean
from holdfast.service.database import Database, Key, new_id, now

Scope = Literal["tune", "ask", "audit", "operate"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""`tune`: upload, and make jobs; `ask`: chat and batches; `audit`: ask models that are not released; `operate`: see
everything, release by hand, and manage keys."""

PREFIX = "sk-holdfast-"
"""What keys begin with, so that scanners for secrets find them."""

_BY_DIGEST = select(Key.id, Key.name, Key.scopes).where(Key.digest == bindparam("digest"), Key.revoked_at.is_(None))
"""Built once, and of columns: every request passes here."""


@dataclass(frozen=True)
class Caller:
    """Whose request it is."""

    id: str
    name: str
    scopes: frozenset[str]

    def may(self, *scopes: Scope) -> bool:
        """Whether the key has one of the scopes."""
        return not self.scopes.isdisjoint(scopes)

    @property
    def sees_all(self) -> bool:
        """Whether it sees what other keys made."""
        return "operate" in self.scopes


def digest_of(secret: str) -> str:
    """The hash under which a key is kept. A key has 256 random bits, so no salt and no slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def create(database: Database, name: str, scopes: Sequence[str]) -> tuple[Key, str]:
    """Make a key, and give it with its secret, which cannot be had again.

    Raises:
        DataError: a name that is empty or not one line, or scopes that are not known.
    """
    if not re.fullmatch(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}", name):
        raise DataError("the name of a key is one line of 1 to 200 characters.")
    for scope in scopes:
        if scope not in SCOPES:
            raise DataError(
                f"unknown scope {scope[:100]!r}; use one of {', '.join(SCOPES)}.{did_you_mean(scope, SCOPES)}"
            )
    if not scopes:
        raise DataError(f"a key needs one scope at least, of {', '.join(SCOPES)}.")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        id=new_id("key-"), name=name, digest=digest_of(secret), scopes=[s for s in SCOPES if s in scopes],
        created_at=now(), revoked_at=None,
    )  # fmt: skip
    with database.writing() as session:
        session.add(key)
    return key, secret


def everyone(database: Database) -> list[Key]:
    """All keys, in the order in which they were made."""
    with database.reading() as session:
        return list(session.scalars(select(Key).order_by(Key.number)))


def revoke(database: Database, key_id: str) -> Key:
    """Revoke a key; it is refused from the next request on. What it made stays.

    Raises:
        DataError: there is no such key.
    """
    with database.writing() as session:
        key = session.scalar(select(Key).where(Key.id == key_id).with_for_update())
        if key is None:
            raise DataError(f"there is no key {key_id[:100]!r}. `holdfast serve keys list` shows the ids of all keys.")
        key.revoked_at = key.revoked_at or now()
        return key


def recognise(database: Database, secret: str) -> Caller | None:
    """Whose key it is; None if it is unknown or revoked."""
    with database.engine.connect() as connection:
        found = connection.execute(_BY_DIGEST, {"digest": digest_of(secret)}).first()
    return Caller(found.id, found.name, frozenset(found.scopes)) if found else None


def is_valid(database: Database, key_id: str) -> bool:
    """Whether there is such a key, and it is not revoked."""
    with database.reading() as session:
        found = select(Key.id).where(Key.id == key_id, Key.revoked_at.is_(None))
        return session.scalar(found) is not None
