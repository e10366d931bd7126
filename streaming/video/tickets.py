"""Who may send a picture for a session: signed tickets for browsers, stream keys for OBS and Larix.

Both are derived from the market's secret, so a video process checks them without asking anybody. A stream
key also has a generation, so that it can be rotated; which generation counts is asked from the wire, and no
answer means no.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import time
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

from streaming.video.errors import BadTicket

LIFETIME_S = 12 * 3600  # a session with its preparation
SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}\Z")
"""Names of sessions. A rehearsal gets one that cannot be guessed: its media address is then its key."""

Purpose = Literal["ingest", "measure"]
_MAC_BYTES = 18


class IngestTickets:
    """Signs and checks with keys derived from the market's secret."""

    def __init__(self, secret: str) -> None:
        self._tickets = hmac.digest(secret.encode(), b"video ingest tickets", hashlib.sha256)
        self._keys = hmac.digest(secret.encode(), b"video stream keys", hashlib.sha256)

    def sign(self, session: str, lifetime_s: int = LIFETIME_S, purpose: Purpose = "ingest") -> str:
        """A ticket for the host of `session`. Raises ValueError for a name that is not one.

        One for measuring opens nothing: it may be given out before the session is on air.
        """
        if not SESSION.match(session):
            raise ValueError(f"not a session: {session!r}")
        payload = f"{session}|{purpose}|{int(time.time()) + lifetime_s}".encode()
        return _text(payload) + "." + _text(self._mac(self._tickets, payload))

    def verify(self, ticket: str, session: str, purpose: Purpose = "ingest") -> None:
        """Raises `BadTicket`."""
        payload, _, mac = ticket[:400].partition(".")
        try:
            said, expected = _bytes(payload), _bytes(mac)
        except (binascii.Error, ValueError) as error:
            raise BadTicket("not a ticket") from error
        if not hmac.compare_digest(expected, self._mac(self._tickets, said)):
            raise BadTicket("not signed here")
        name, what, expires = said.decode().split("|")
        if (name, what) != (session, purpose):
            raise BadTicket("for another session or purpose")
        if int(expires) <= time.time():
            raise BadTicket("out of date")

    def stream_key(self, session: str, generation: int) -> str:
        """What a person types into OBS: the session and 29 letters. The same for the same generation."""
        if not SESSION.match(session) or generation < 1:
            raise ValueError(f"not a session: {session!r}")
        mac = self._mac(self._keys, f"{session}|{generation}".encode())
        return f"{session}_{generation}_{b32encode(mac).decode().rstrip('=').lower()}"

    def verify_stream_key(self, key: str) -> tuple[str, int]:
        """(session, generation) of a key that was signed here. Raises `BadTicket`."""
        session, _, rest = key[:200].partition("_")
        generation, _, _ = rest.partition("_")
        if not SESSION.match(session) or not generation.isascii() or not generation.isdigit():
            raise BadTicket("not a stream key")
        if int(generation) < 1 or not hmac.compare_digest(
            self.stream_key(session, int(generation)).encode(), key.encode()
        ):
            raise BadTicket("not signed here")
        return session, int(generation)

    @staticmethod
    def _mac(key: bytes, payload: bytes) -> bytes:
        return hmac.digest(key, payload, hashlib.sha256)[:_MAC_BYTES]


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii", "strict") + b"=" * (-len(text) % 4))
