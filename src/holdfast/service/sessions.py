"""Who is signed in at the console page: a cookie that names a session, which this process remembers."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from holdfast.service import keys
from holdfast.service.database import Database
from holdfast.service.keys import Caller

COOKIE = "holdfast_console"
LONGEST = 12 * 3600.0
"""Seconds after which one has to sign in again."""
MOST = 1000
"""Sessions that are remembered; the oldest goes first."""


@dataclass(frozen=True)
class SignedIn:
    """One session. The key itself is not kept."""

    caller: Caller
    token: str
    """What each form of the page must send back, so that no other page can send one."""
    until: float


class Sessions:
    """The sessions of one process; a restart signs everyone out."""

    def __init__(self) -> None:
        self._by_cookie: OrderedDict[str, SignedIn] = OrderedDict()

    def begin(self, database: Database, secret: str) -> str | None:
        """The cookie of a new session; None where the key is unknown or revoked."""
        caller = keys.recognise(database, secret)
        if caller is None:
            return None
        cookie = secrets.token_urlsafe(32)
        self._by_cookie[cookie] = SignedIn(caller, secrets.token_urlsafe(32), time.monotonic() + LONGEST)
        while len(self._by_cookie) > MOST:
            self._by_cookie.popitem(last=False)
        return cookie

    def of(self, database: Database, cookie: str | None) -> SignedIn | None:
        """The session of a cookie; None where there is none, it is too old, or its key was revoked."""
        session = self._by_cookie.get(cookie or "")
        if session is None:
            return None
        if time.monotonic() > session.until or not keys.is_valid(database, session.caller.id):
            self.end(cookie)
            return None
        return session

    def end(self, cookie: str | None) -> None:
        """Sign out."""
        self._by_cookie.pop(cookie or "", None)
