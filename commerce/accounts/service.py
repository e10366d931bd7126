"""Accounts, sign-in, and devices. Passwords are kept as argon2id hashes, tokens as SHA-256."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from datetime import timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts import identity
from commerce.accounts.errors import (
    OwnIdentity,
    PhoneTaken,
    TooManyTries,
    UnknownCommune,
    UnknownPerson,
    WrongPassword,
)
from commerce.accounts.models import AccountEvent, Person, RoleGrant, SignIn
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid
from commerce.core.i18n import N_
from commerce.core.phone import normalise
from commerce.core.roles import Identity, Role

SIGN_IN_LASTS = timedelta(days=60)  # a host should not meet a password form in the orchard
TRIES = 8  # wrong passwords a phone number may meet …
TRIES_ADDRESS = 60  # … and an address may send: a whole commune office shares one …
TRIES_WITHIN_S = 600  # … in this time
ONE_TIME_LENGTH = 10
UNAMBIGUOUS = "abcdefghjkmnpqrstuvwxyz23456789"  # read out over the phone: no 0/o, 1/l/i

# 19 MiB and three passes: with RFC 9106's 64 MiB a few dozen sign-ins at once would exhaust a small machine.
_hasher = PasswordHasher(time_cost=3, memory_cost=19_456, parallelism=1)


@cache
def _nobody() -> str:
    """A hash that no password fits."""
    return _hasher.hash(secrets.token_urlsafe(16))


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def _matches(stored: str | None, password: str) -> bool:
    """Takes as long for people who do not exist, so that time tells nothing."""
    try:
        _hasher.verify(stored or _nobody(), password)
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
            if len(recent) >= (TRIES_ADDRESS if key.startswith("address:") else TRIES):
                raise TooManyTries(minutes=TRIES_WITHIN_S // 60)

    def failed(self, *keys: str) -> None:
        for key in keys:
            self._failed[key].append(time.monotonic())

    def clear(self) -> None:
        self._failed.clear()

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
    return await grant_sign_in(person.id, device)


async def grant_sign_in(person_id: int, device: str) -> tuple[str, Identity]:
    """A new token for this device, for a person who has just proved who they are."""
    token = secrets.token_urlsafe(32)
    async with sessions.begin() as db:
        await db.execute(
            insert(SignIn).values(
                token_hash=hash_token(token),
                person_id=person_id,
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


async def sign_out(identity: Identity, sign_in_id: int | None = None) -> None:
    """Ends one of the person's own sign-ins, this device's unless another is named."""
    async with sessions.begin() as db:
        wanted = sign_in_id or identity.sign_in_id
        await _end_sign_ins(db, (SignIn.id == wanted) & (SignIn.person_id == identity.person_id))


async def sign_out_everywhere(identity: Identity) -> None:
    """Ends every sign-in of the person, after a phone was lost."""
    async with sessions.begin() as db:
        await _end_sign_ins(db, SignIn.person_id == identity.person_id)


async def _end_sign_ins(db: AsyncSession, which: ColumnElement[bool]) -> None:
    await db.execute(update(SignIn).where(which, SignIn.revoked_at.is_(None)).values(revoked_at=clock.now()))


async def open_account(
    phone: str, name: str, role: str, commune: str | None, *, by: Identity | None = None
) -> str:
    """Opens an account and returns its one-time password, to be handed over and changed.

    `by` is who opens it: administrators and the province anywhere, officers in their own commune; None is the
    command line of the machine. Raises `Invalid` naming the field, `PhoneTaken`, `UnknownCommune`
    or `Forbidden`.
    """
    number, wanted = _check_account(phone, name, role, commune)
    if by is not None:
        _must_look_after(by, [(wanted, commune)])
    password = _one_time_password()
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
            await _note(db, person_id, by, "opened", f"{wanted} {commune or ''}")
    except IntegrityError as error:
        if "commune_code" in str(error.orig):
            raise UnknownCommune(code=commune) from None
        raise PhoneTaken(phone=number) from None
    return password


def _one_time_password() -> str:
    return "".join(secrets.choice(UNAMBIGUOUS) for _ in range(ONE_TIME_LENGTH))


def _must_look_after(by: Identity, grants: Iterable[tuple[Role, str | None]]) -> None:
    """Nobody raises or rules somebody above themselves. Raises `Forbidden`."""
    if by.has(Role.ADMIN):
        return
    for role, commune in grants:
        if by.has(Role.PROVINCE) and role in LOCAL_ROLES:
            continue
        if role in LOCAL_ROLES and commune is not None and by.may(commune, Role.OFFICER):
            continue
        raise Forbidden


async def _note(
    db: AsyncSession, person_id: int | None, by: Identity | None, what: str, detail: str = ""
) -> None:
    await db.execute(
        insert(AccountEvent).values(
            person_id=person_id, by=by.person_id if by else None, what=what, detail=detail.strip()
        )
    )


async def _subject(db: AsyncSession, by: Identity, person_id: int) -> Person:
    """The person, if `by` looks after all of their roles. Raises `UnknownPerson` or `Forbidden`."""
    person = await db.get(Person, person_id, with_for_update=True)
    if person is None:
        raise UnknownPerson
    rows = await db.execute(
        select(RoleGrant.role, RoleGrant.commune_code).where(RoleGrant.person_id == person_id)
    )
    _must_look_after(by, [(Role(row.role), row.commune_code) for row in rows])
    return person


async def reset_password(by: Identity, person_id: int) -> str:
    """A new one-time password for somebody who lost theirs; all their devices are signed out."""
    password = _one_time_password()
    async with sessions.begin() as db:
        person = await _subject(db, by, person_id)
        person.password_hash = hash_password(password)
        person.must_change_password = True
        await _end_sign_ins(db, SignIn.person_id == person_id)
        await _note(db, person_id, by, "password_reset")
    return password


async def verify_identity(by: Identity, person_id: int, secret_key: str, looked: identity.Looked) -> None:
    """Notes what `by` found when looking at the person's document; a host needs a "yes" to go live.

    Raises as `identity.record`, and `UnknownPerson`, `Forbidden`.
    """
    async with sessions.begin() as db:
        person = await _subject(db, by, person_id)
        if person.id == by.person_id:
            raise OwnIdentity
        person.identity_verified_at = await identity.record(db, by, secret_key, looked, person_id=person_id)
        await _note(db, person_id, by, "identity_verified", looked.verdict)


async def set_active(by: Identity, person_id: int, active: bool) -> None:
    """Closes or reopens an account; closing signs out everywhere at once."""
    async with sessions.begin() as db:
        person = await _subject(db, by, person_id)
        person.active = active
        if not active:
            await _end_sign_ins(db, SignIn.person_id == person_id)
        await _note(db, person_id, by, "reopened" if active else "closed")


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
        others = (SignIn.person_id == person.id) & (SignIn.id != identity.sign_in_id)
        await _end_sign_ins(db, others)
        await _note(db, person.id, identity, "password_changed")
