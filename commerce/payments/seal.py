"""Secrets of other services (webhook keys) as they are kept in the database: sealed with the market's key."""

from __future__ import annotations

import base64
from functools import cache

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


@cache
def _box(secret_key: str) -> Fernet:
    derived = HKDF(hashes.SHA256(), length=32, salt=None, info=b"chophien payments seal").derive(
        secret_key.encode()
    )
    return Fernet(base64.urlsafe_b64encode(derived))


def seal(secret_key: str, text: str) -> str:
    return _box(secret_key).encrypt(text.encode()).decode()


def unseal(secret_key: str, sealed: str) -> str:
    """Raises `cryptography.fernet.InvalidToken` when the market's key has changed."""
    return _box(secret_key).decrypt(sealed.encode()).decode()
