"""Signing in with a one-time code sent to the phone: for people who will not remember a password."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta

from sqlalchemy import func, insert, select, update

from commerce.accounts.errors import WrongCode
from commerce.accounts.models import Person, SignInCode
from commerce.accounts.service import grant_sign_in, tries
from commerce.accounts.sms import Sms
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import TooMany
from commerce.core.i18n import N_, translate
from commerce.core.phone import normalise
from commerce.core.roles import Identity

LASTS = timedelta(minutes=5)
TRIES = 5  # with six digits and five tries a guesser needs some 140,000 codes
PER_HOUR = 5  # messages a person may be sent; each costs money and patience
TEXT = N_("Chợ Phiên: mã đăng nhập của bạn là {code}, dùng trong 5 phút. Không đưa mã này cho ai.")


async def send_code(phone: str, sms: Sms) -> None:
    """Sends a code if the phone has an account, and says nothing of whether it has.

    Raises `TooMany` past the hourly limit and `SmsUnavailable`.
    """
    number = normalise(phone)
    code = f"{secrets.randbelow(1_000_000):06d}"
    async with sessions.begin() as db:
        person = await db.scalar(select(Person).where(Person.phone == number, Person.active))
        if person is None:
            return
        recent = await db.scalar(
            select(func.count())
            .select_from(SignInCode)
            .where(
                SignInCode.person_id == person.id, SignInCode.created_at > clock.now() - timedelta(hours=1)
            )
        )
        if (recent or 0) >= PER_HOUR:
            raise TooMany
        await db.execute(
            insert(SignInCode).values(
                person_id=person.id, code_hash=_hash(person.id, code), expires_at=clock.now() + LASTS
            )
        )
    await sms.send(person.phone, translate(TEXT).format(code=code))


async def sign_in_with_code(phone: str, code: str, *, device: str, address: str) -> tuple[str, Identity]:
    """A new token for this device. Only the newest code counts, once. Raises `WrongCode`."""
    number = normalise(phone) or phone.strip()
    tries.check(f"code:{number}", f"address:{address}")
    async with sessions.begin() as db:
        newest = await db.scalar(
            select(SignInCode)
            .join(Person, Person.id == SignInCode.person_id)
            .where(Person.phone == number, Person.active)
            .order_by(SignInCode.id.desc())
            .limit(1)
            .with_for_update(of=SignInCode)
        )
        right = newest is not None and _usable(newest) and _same(newest, code)
        if newest is not None:
            await db.execute(
                update(SignInCode)
                .where(SignInCode.id == newest.id)
                .values(tries=SignInCode.tries + 1, used_at=clock.now() if right else newest.used_at)
            )
    if not right or newest is None:
        tries.failed(f"code:{number}", f"address:{address}")
        raise WrongCode
    return await grant_sign_in(newest.person_id, device)


def _usable(code: SignInCode) -> bool:
    return code.used_at is None and code.tries < TRIES and code.expires_at > clock.now()


def _same(stored: SignInCode, code: str) -> bool:
    return hmac.compare_digest(stored.code_hash, _hash(stored.person_id, code.strip()))


def _hash(person_id: int, code: str) -> str:
    return hashlib.sha256(f"{person_id}:{code}".encode()).hexdigest()
