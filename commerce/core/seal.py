"""Secrets of other services (webhook keys, networks' tokens) as the database keeps them: sealed with a key
made from the market's. Each purpose has a key of its own, so what was sealed for one opens for no other.
"""

from __future__ import annotations

import base64
from functools import cache

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


@cache
def _box(secret_key: str, purpose: str) -> Fernet:
    derived = HKDF(hashes.SHA256(), length=32, salt=None, info=f"chophien {purpose} seal".encode()).derive(
        secret_key.encode()
    )
    return Fernet(base64.urlsafe_b64encode(derived))


def seal(secret_key: str, purpose: str, text: str) -> str:
    return _box(secret_key, purpose).encrypt(text.encode()).decode()


def unseal(secret_key: str, purpose: str, sealed: str, *, lasts: int | None = None) -> str:
    """Raises `cryptography.fernet.InvalidToken` when the market's key has changed, when it was sealed for
    something else, or longer ago than it `lasts` (seconds).
    """
    return _box(secret_key, purpose).decrypt(sealed.encode(), ttl=lasts).decode()
