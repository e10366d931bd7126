"""Signed tickets: who may open which room's socket, until when, and where they came from.

A ticket is `payload.mac`, both base64url: short enough for an address, checked without any storage.
It is not a secret of the page that shows it; it says that our own page asked for this socket.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from typing import NamedTuple

LIFETIME_S = 6 * 3600  # longer than any session; a page asks for a new one when it is refused

_MAC_BYTES = 16
_ROOM = re.compile(r"[A-Za-z0-9_-]{1,40}(@[a-z]{1,10})?")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Kind(StrEnum):
    VIEWER = "viewer"
    STAFF = "staff"  # sees staff frames, is not counted as a viewer
    BENCH = "bench"  # counted like a viewer, exempt from the limit per address


class Ticket(NamedTuple):
    room: str
    visitor: str
    source: str = "direct"
    """The way the visitor came: zalo, facebook, tiktok, qr, channel, direct..."""
    kind: Kind = Kind.VIEWER
    expires: int = 0
    """Unix seconds."""


class TicketError(Exception):
    """The ticket does not open this room now."""

    code = "bad_ticket"


class TicketForged(TicketError):
    """Not signed by us, or cut, or altered."""

    code = "ticket_forged"


class TicketExpired(TicketError):
    code = "ticket_expired"


class TicketWrongRoom(TicketError):
    code = "ticket_wrong_room"


class Tickets:
    """Signs and verifies with a key derived from the market's secret."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"live tickets", hashlib.sha256)

    def sign(
        self,
        room: str,
        visitor: str,
        source: str = "direct",
        kind: Kind = Kind.VIEWER,
        lifetime_s: int = LIFETIME_S,
    ) -> str:
        """Raises ValueError for a room, visitor or source that is not made of letters, digits, `-`, `_`."""
        if not _ROOM.fullmatch(room):
            raise ValueError(f"not a room: {room!r}")
        if not _WORD.fullmatch(visitor) or not _WORD.fullmatch(source):
            raise ValueError(f"not a visitor or source: {visitor!r}, {source!r}")
        payload = f"{room}|{visitor}|{source}|{kind}|{int(time.time()) + lifetime_s}".encode()
        return f"{_text(payload)}.{_text(self._mac(payload))}"

    def verify(self, token: str, room: str) -> Ticket:
        """Raises `TicketForged`, `TicketWrongRoom` or `TicketExpired`, in this order."""
        payload, mac = self._parts(token)
        if not hmac.compare_digest(mac, self._mac(payload)):
            raise TicketForged("not signed here")
        its_room, visitor, source, kind, expires = payload.decode().split("|")
        ticket = Ticket(its_room, visitor, source, Kind(kind), int(expires))
        if ticket.room != room:
            raise TicketWrongRoom(f"a ticket for {ticket.room}, not {room}")
        if ticket.expires <= time.time():
            raise TicketExpired("expired")
        return ticket

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, hashlib.sha256)[:_MAC_BYTES]

    @staticmethod
    def _parts(token: str) -> tuple[bytes, bytes]:
        payload, dot, mac = token.partition(".")
        if not dot or len(token) > 400:
            raise TicketForged("not a ticket")
        try:
            return _bytes(payload), _bytes(mac)
        except (binascii.Error, ValueError) as error:
            raise TicketForged("not a ticket") from error


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
