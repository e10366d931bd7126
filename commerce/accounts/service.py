"""Accounts, sign-in, and devices. Passwords are kept as argon2id hashes, tokens as SHA-256."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import defaultdict, deque
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.errors import PhoneTaken, TooManyTries, UnknownCommune, WrongPassword
from commerce.accounts.models import Person, RoleGrant, SignIn
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.phone import normalise
from commerce.core.roles import Identity, Role

SIGN_IN_LASTS = timedelta(days=60)  # a host should not meet a password form in the orchard
TRIES = 8  # wrong passwords a phone number and address may send …
TRIES_WITHIN_S = 600  # … in this time
ONE_TIME_LENGTH = 10
UNAMBIGUOUS = "abcdefghjkmnpqrstuvwxyz23456789"  # read out over the phone: no 0/o, 1/l/i

# 19 MiB and three passes: with RFC 9106's 64 MiB a few dozen sign-ins at once would exhaust a small machine.
_hasher = PasswordHasher(time_cost=3, memory_cost=19_456, parallelism=1)
_nobody = _hasher.hash(secrets.token_urlsafe(16))


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def _matches(stored: str | None, password: str) -> bool:
    """Takes as long for people who do not exist, so that time tells nothing."""
    try:
        _hasher.verify(stored or _nobody, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Tries:
    """Counts wrong passwords in this process; enough to make guessing hopeless with argon2 behind it."""

    def __init__(self) -> None:
        self._failed: dict[str, deque[float]] = defaultdict(deque)

    def check(self, *keys: str) -> None:
        """Raises `TooManyTries`."""
        for key in keys:
            recent = self._failed[key]
            while recent and recent[0] < time.monotonic() - TRIES_WITHIN_S:
                recent.popleft()
            if len(recent) >= TRIES:
                raise TooManyTries(minutes=TRIES_WITHIN_S // 60)

    def failed(self, *keys: str) -> None:
        for key in keys:
            self._failed[key].append(time.monotonic())

    def forget(self, *keys: str) -> None:
        for key in keys:
            self._failed.pop(key, None)


tries = Tries()


async def sign_in(phone: str, password: str, *, device: str = "", address: str = "") -> tuple[str, Identity]:
    """A new token for this device and who it is. Raises `WrongPassword` or `TooManyTries`."""
    number = normalise(phone) or phone.strip()
    keys = (f"phone:{number}", f"address:{address}") if address else (f"phone:{number}",)
    tries.check(*keys)
    async with sessions.read() as db:
        person = await db.scalar(select(Person).where(Person.phone == number, Person.active))
    if not _matches(person.password_hash if person else None, password) or person is None:
        tries.failed(*keys)
        raise WrongPassword
    tries.forget(keys[0])
    token = secrets.token_urlsafe(32)
    async with sessions.begin() as db:
        await db.execute(
            insert(SignIn).values(
                token_hash=hash_token(token),
                person_id=person.id,
                device=device[:200],
                expires_at=clock.now() + SIGN_IN_LASTS,
            )
        )
        identity = await _identity(db, token)
    assert identity is not None
    return token, identity


async def find_identity(token: str) -> Identity | None:
    """Who holds this token, or None when it is unknown, expired or signed out."""
    async with sessions.read() as db:
        return await _identity(db, token)


async def _identity(db: AsyncSession, token: str) -> Identity | None:
    rows = (
        await db.execute(
            select(SignIn.id, Person.id, Person.name, Person.phone, RoleGrant.role, RoleGrant.commune_code)
            .join(Person, Person.id == SignIn.person_id)
            .outerjoin(RoleGrant, RoleGrant.person_id == Person.id)
            .where(
                SignIn.token_hash == hash_token(token),
                SignIn.revoked_at.is_(None),
                SignIn.expires_at > clock.now(),
                Person.active,
            )
        )
    ).all()
    if not rows:
        return None
    sign_in_id, person_id, name, phone, _, _ = rows[0]
    grants = frozenset((Role(row.role), row.commune_code) for row in rows if row.role)
    return Identity(person_id, sign_in_id, name, phone, grants)


async def sign_out(identity: Identity) -> None:
    """Ends this device's sign-in."""
    await _revoke(SignIn.id == identity.sign_in_id)


async def sign_out_everywhere(identity: Identity) -> None:
    """Ends every sign-in of the person, after a phone was lost."""
    await _revoke(SignIn.person_id == identity.person_id)


async def _revoke(which: object) -> None:
    async with sessions.begin() as db:
        await db.execute(
            update(SignIn).where(which, SignIn.revoked_at.is_(None)).values(revoked_at=clock.now())  # type: ignore[arg-type]
        )


async def open_account(phone: str, name: str, role: str, commune: str | None) -> str:
    """Opens an account and returns its one-time password, to be handed over and changed.

    Raises `Invalid` naming the field, `PhoneTaken` or `UnknownCommune`.
    """
    number, wanted = _check_account(phone, name, role, commune)
    password = "".join(secrets.choice(UNAMBIGUOUS) for _ in range(ONE_TIME_LENGTH))
    try:
        async with sessions.begin() as db:
            person_id = await db.scalar(
                insert(Person)
                .values(
                    phone=number,
                    name=name.strip(),
                    password_hash=hash_password(password),
                    must_change_password=True,
                )
                .returning(Person.id)
            )
            await db.execute(insert(RoleGrant).values(person_id=person_id, role=wanted, commune_code=commune))
    except IntegrityError as error:
        if "commune_code" in str(error.orig):
            raise UnknownCommune(code=commune) from None
        raise PhoneTaken(phone=number) from None
    return password


def _check_account(phone: str, name: str, role: str, commune: str | None) -> tuple[str, Role]:
    faults: list[FieldError] = []
    number = normalise(phone)
    if number is None:
        faults.append(FieldError("phone", N_("Số điện thoại chưa đúng. Ví dụ: 0901234567.")))
    if not name.strip():
        faults.append(FieldError("name", N_("Chưa có họ tên.")))
    if role not in set(Role):
        faults.append(
            FieldError("role", N_("Vai trò phải là một trong: {roles}."), {"roles": ", ".join(Role)})
        )
    elif role in LOCAL_ROLES and not commune:
        faults.append(FieldError("commune", N_("Vai trò này cần mã xã (--commune).")))
    if faults or number is None:
        raise Invalid(*faults)
    return number, Role(role)


LOCAL_ROLES = frozenset({Role.HOST, Role.HELPER, Role.OFFICER, Role.SELLER})


async def change_password(identity: Identity, old: str, new: str) -> None:
    """Sets a new password and signs out the other devices. Raises `WrongPassword` or `Invalid`."""
    if len(new) < 8:
        raise Invalid(FieldError("new", N_("Mật khẩu mới cần ít nhất 8 ký tự.")))
    async with sessions.begin() as db:
        person = await db.get_one(Person, identity.person_id)
        if not _matches(person.password_hash, old):
            raise WrongPassword
        person.password_hash = hash_password(new)
        person.must_change_password = False
        await db.execute(
            update(SignIn)
            .where(
                SignIn.person_id == person.id, SignIn.id != identity.sign_in_id, SignIn.revoked_at.is_(None)
            )
            .values(revoked_at=clock.now())
        )
