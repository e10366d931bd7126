"""Who is who: the office looks at a document of a host or a seller and keeps the verdict, never the document.

Kept are a keyed hash of the document's number (HMAC with a key made from the market's own), the verdict, who
gave it and when. The hash tells whether the same document was shown for somebody else; without the market's
key nobody can try numbers against it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.errors import DocumentKnown
from commerce.accounts.models import IdentityCheck, Person
from commerce.core import clock
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity
from commerce.core.text import clean

NOTE_MOST = 300


class Document(StrEnum):
    CITIZEN = "citizen"
    """Thẻ căn cước: twelve digits."""
    PASSPORT = "passport"
    BUSINESS = "business"
    """Of a co-operative, company or registered household: its registration or tax number."""


class Verdict(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"


_SHAPES = {
    Document.CITIZEN: re.compile(r"\d{12}"),
    Document.PASSPORT: re.compile(r"[A-Z]{1,2}\d{6,8}"),
    Document.BUSINESS: re.compile(r"[0-9A-Z]{8,16}"),
}


@dataclass(frozen=True, slots=True)
class Looked:
    """What was typed while the document lay on the desk."""

    kind: str
    number: str
    verdict: str = Verdict.RIGHT
    note: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the record, as screens show it."""

    kind: str
    verdict: str
    note: str
    by: str
    at: datetime


async def record(
    db: AsyncSession,
    by: Identity,
    secret_key: str,
    looked: Looked,
    *,
    person_id: int | None = None,
    seller_id: int | None = None,
) -> datetime | None:
    """Keeps the verdict on one person or one seller; when they count as verified, or None after a "no".

    Whether `by` may do this is the caller's to say. Raises `Invalid` with every fault, `DocumentKnown` when
    the same document stands for somebody else.
    """
    kind, number, note = _check(looked)
    number_hash = keyed_hash(secret_key, kind, number)
    right = looked.verdict == Verdict.RIGHT
    if right and await _shown_for_another(db, number_hash, person_id, seller_id):
        raise DocumentKnown
    await db.execute(
        insert(IdentityCheck).values(
            person_id=person_id,
            seller_id=seller_id,
            kind=kind,
            number_hash=number_hash,
            verdict=looked.verdict,
            note=note,
            by=by.person_id,
        )
    )
    return clock.now() if right else None


def keyed_hash(secret_key: str, kind: Document, number: str) -> str:
    """64 hexadecimal digits, the same for the same document in this market alone."""
    key = hmac.digest(secret_key.encode(), b"chophien identity documents", "sha256")
    return hmac.new(key, f"{kind}:{number}".encode(), hashlib.sha256).hexdigest()


def _check(looked: Looked) -> tuple[Document, str, str]:
    faults = []
    number = re.sub(r"[\s.\-]", "", clean(looked.number)).upper()
    kind = Document(looked.kind) if looked.kind in set(Document) else None
    if kind is None:
        faults.append(FieldError("kind", N_("Xin chọn loại giấy tờ.")))
    elif not _SHAPES[kind].fullmatch(number):
        faults.append(FieldError("number", _SAYS[kind]))
    if looked.verdict not in set(Verdict):
        faults.append(FieldError("verdict", N_("Xin chọn đúng người hay không đúng.")))
    note = clean(looked.note)[:NOTE_MOST]
    if looked.verdict == Verdict.WRONG and len(note) < 5:
        faults.append(FieldError("note", N_("Xin ghi vì sao chưa đúng, để người sau biết.")))
    if faults or kind is None:
        raise Invalid(*faults)
    return kind, number, note


_SAYS = {
    Document.CITIZEN: N_("Số căn cước có 12 chữ số."),
    Document.PASSPORT: N_("Số hộ chiếu có một hoặc hai chữ cái và 6 đến 8 chữ số."),
    Document.BUSINESS: N_("Mã số đăng ký hoặc mã số thuế có 8 đến 16 chữ số, chữ cái."),
}


async def _shown_for_another(
    db: AsyncSession, number_hash: str, person_id: int | None, seller_id: int | None
) -> bool:
    """A person and the stall they tend may show the same document; two persons or two sellers may not."""
    same_kind = IdentityCheck.person_id if person_id is not None else IdentityCheck.seller_id
    found = await db.scalar(
        select(IdentityCheck.id)
        .where(
            IdentityCheck.number_hash == number_hash,
            IdentityCheck.verdict == Verdict.RIGHT,
            same_kind.is_not(None),
            same_kind != (person_id if person_id is not None else seller_id),
        )
        .limit(1)
    )
    return found is not None


async def checks(
    db: AsyncSession, *, person_ids: Iterable[int] = (), seller_ids: Iterable[int] = ()
) -> dict[tuple[str, int], list[Check]]:
    """("person" | "seller", id) -> its record, the newest first."""
    rows = await db.execute(
        select(IdentityCheck, Person.name)
        .join(Person, Person.id == IdentityCheck.by)
        .where(IdentityCheck.person_id.in_(list(person_ids)) | IdentityCheck.seller_id.in_(list(seller_ids)))
        .order_by(IdentityCheck.id.desc())
    )
    found: dict[tuple[str, int], list[Check]] = {}
    for row, name in rows:
        person = row.person_id is not None
        key = ("person" if person else "seller", int(row.person_id or row.seller_id or 0))
        found.setdefault(key, []).append(Check(row.kind, row.verdict, row.note, name, row.at))
    return found
