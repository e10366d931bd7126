"""Who comes, from where, and the ticket that lets them in."""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import urlsplit

from commerce.core.settings import Settings
from commerce.core.web import AnyRequest
from commerce.live.queries import Session
from streaming.bus import staff_room
from streaming.tickets import Kind, Tickets

_NOT_WORD = re.compile(r"[^a-z0-9_-]+")
SOURCE_MOST = 32

# Hosts of the places people come from; anything else is "web".
_KNOWN = {
    "zalo": ("zalo.me", "zaloapp.com"),
    "facebook": ("facebook.com", "fb.com", "fb.me", "messenger.com"),
    "tiktok": ("tiktok.com",),
    "youtube": ("youtube.com", "youtu.be"),
    "google": ("google.com", "google.com.vn"),
    "coccoc": ("coccoc.com",),
    "instagram": ("instagram.com",),
}


def source_of(request: AnyRequest, settings: Settings) -> str:
    """How this visitor came: what the link says (`?s=`, `utm_source`), else the page it was on."""
    said = request.query_params.get("s") or request.query_params.get("utm_source") or ""
    word = _NOT_WORD.sub("-", said.lower()).strip("-")[:SOURCE_MOST]
    return word or _from_referrer(request.headers.get("referer", ""), settings)


def _from_referrer(referrer: str, settings: Settings) -> str:
    try:
        host = (urlsplit(referrer).hostname or "").lower()
    except ValueError:
        host = ""
    if not host:
        return "direct"
    if host == urlsplit(settings.public_url).hostname:
        return "market"
    for name, hosts in _KNOWN.items():
        if any(host == known or host.endswith("." + known) for known in hosts):
            return name
    return "web"


@cache
def _tickets(secret: str) -> Tickets:
    return Tickets(secret)


def live_url(settings: Settings, session: Session, visitor: str, source: str) -> str:
    """The address of the session's socket for this visitor; empty when there is nothing to hear."""
    if not session.has_room:
        return ""
    ticket = _tickets(settings.secret_key).sign(session.code, visitor, source)
    return f"{settings.live_url}/live/{session.code}?ticket={ticket}"


def staff_url(settings: Settings, session: Session, visitor: str) -> str:
    """The same for those who run it: they hear of orders as well and are not counted as viewers."""
    if not session.has_room:
        return ""
    room = staff_room(session.code)
    ticket = _tickets(settings.secret_key).sign(room, visitor, "staff", Kind.STAFF)
    return f"{settings.live_url}/live/{room}?ticket={ticket}"
