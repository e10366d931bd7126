"""Web push: a message to a browser that is not open (RFC 8030), for its eyes only (RFC 8291), signed as ours
(RFC 8292).

The market's key pair is derived from its secret, so that every process has the same one and none is stored;
a browser ties its subscription to the public half. pywebpush encrypts; sending is ours, over httpx, because
hundreds go out at once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from commerce.core import clock
from commerce.core.settings import Settings

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of the curve P-256
SIGNED_FOR_S = 12 * 3600  # a signature counts for so long; RFC 8292 allows a day
KEPT_FOR_S = 3600  # the push service keeps it so long for a phone that is off; later it is old news

# Where browsers may be reached. An address is given by whoever asks, and we would post to it: nothing else
# is ever called, least of all what is inside our own network.
SERVICES = (
    "fcm.googleapis.com",
    "push.services.mozilla.com",
    "push.apple.com",
    "notify.windows.com",
)


class Outcome(StrEnum):
    SENT = "sent"
    GONE = "gone"
    """The browser took its permission back; the device is forgotten."""
    LATER = "later"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Target:
    endpoint: str
    p256dh: str
    auth: str


@cache
def private_key(secret: str) -> ec.EllipticCurvePrivateKey:
    """The market's own, the same in all its processes. 384 bits are reduced so that none is likelier."""
    seed = HKDF(hashes.SHA256(), length=48, salt=None, info=b"chophien web push").derive(secret.encode())
    return ec.derive_private_key(int.from_bytes(seed) % (ORDER - 1) + 1, ec.SECP256R1())


def public_key(settings: Settings) -> str:
    """What a page hands to `pushManager.subscribe`: an uncompressed point, base64url."""
    public = private_key(settings.secret_key).public_key()
    raw = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def allowed(settings: Settings, endpoint: str) -> bool:
    """Whether it is a push service's address: known ones, those of CHOPHIEN_PUSH_HOSTS (with their port), and
    this machine's own while developing."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        return False
    host = (parts.hostname or "").lower()
    if parts.username or len(endpoint) > 1000:
        return False
    if f"{host}:{port}" in settings.extra.get("PUSH_HOSTS", "").split():
        return True
    if not settings.production and host == "127.0.0.1":
        return True
    known = any(host == service or host.endswith("." + service) for service in SERVICES)
    return parts.scheme == "https" and port in (None, 443) and known


def usable(p256dh: str, auth: str) -> bool:
    """Whether these are a point on the curve and a secret of 16 bytes: checked when they come, not when a
    message is due."""
    try:
        point = _decode(p256dh)
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        return len(point) == 65 and len(_decode(auth)) == 16
    except ValueError:
        return False


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def envelope(settings: Settings, target: Target, message: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """The encrypted body and the headers that go with it."""
    from py_vapid import Vapid02  # with requests and aiohttp in tow: loaded where messages are sent
    from pywebpush import WebPusher

    parts = urlsplit(target.endpoint)
    claims = {
        "aud": f"{parts.scheme}://{parts.netloc}",
        "exp": int(clock.now().timestamp()) + SIGNED_FOR_S,
        "sub": _contact(settings),
    }
    keys = {"p256dh": target.p256dh, "auth": target.auth}
    pusher = WebPusher({"endpoint": target.endpoint, "keys": keys})
    body: bytes = pusher.encode(json.dumps(message, ensure_ascii=False).encode())["body"]
    signed: dict[str, str] = Vapid02(private_key(settings.secret_key)).sign(claims)
    return body, {
        **signed,
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(KEPT_FOR_S),
        "Urgency": "high",
    }


def _contact(settings: Settings) -> str:
    """Whom a push service may ask when it is unhappy: CHOPHIEN_CONTACT (`mailto:…`), else the market's
    address, which must be https."""
    ours = settings.public_url if settings.public_url.startswith("https://") else "mailto:market@example.org"
    return settings.extra.get("CONTACT", ours)


async def send(
    client: httpx.AsyncClient, settings: Settings, target: Target, message: Mapping[str, Any]
) -> Outcome:
    """Hand one message to the browser's push service."""
    if not allowed(settings, target.endpoint):
        return Outcome.GONE
    body, headers = envelope(settings, target, message)
    try:
        answer = await client.post(target.endpoint, content=body, headers=headers)
    except httpx.HTTPError:
        return Outcome.LATER
    if answer.is_success:
        return Outcome.SENT
    if answer.status_code in (404, 410):
        return Outcome.GONE
    return Outcome.LATER if answer.status_code == 429 or answer.is_server_error else Outcome.REFUSED
