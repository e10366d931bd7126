"""Looking at documents: a keyed hash and a verdict are kept, with who and when; nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from commerce.accounts import identity, service
from commerce.accounts.errors import DocumentKnown, OwnIdentity
from commerce.accounts.identity import Document, Looked, Verdict
from commerce.accounts.models import IdentityCheck, Person
from commerce.core.db import Sessions
from commerce.core.errors import Forbidden, Invalid
from commerce.core.roles import Identity, Role
from tests import factories

SECRET = "k" * 40
NUMBER = "066190222333"


async def officer(sessions: Sessions, commune: str = factories.EA_KNUEC) -> Identity:
    async with sessions.begin() as db:
        made = await factories.person(db, Role.OFFICER, commune_code=commune)
    return Identity(made, 0, "Cán bộ", "0900000000", frozenset({(Role.OFFICER, commune)}))


async def host(sessions: Sessions) -> int:
    async with sessions.begin() as db:
        return await factories.person(db, Role.HOST, identity_verified_at=None)


async def verified(sessions: Sessions, person: int) -> bool:
    async with sessions.read() as db:
        return (await db.get_one(Person, person)).identity_verified_at is not None


async def test_the_number_is_kept_nowhere(sessions: Sessions) -> None:
    by, person = await officer(sessions), await host(sessions)
    await service.verify_identity(by, person, SECRET, Looked(Document.CITIZEN, "066 190 222 333"))
    assert await verified(sessions, person)
    async with sessions.read() as db:
        row = (await db.scalars(select(IdentityCheck))).one()
        assert (row.verdict, row.by, row.person_id) == (Verdict.RIGHT, by.person_id, person)
        assert row.number_hash == identity.keyed_hash(SECRET, Document.CITIZEN, NUMBER)
        for table in ("identity_check", "person", "account_event"):
            dump = await db.scalar(text(f"SELECT string_agg(t::text, ' ') FROM {table} t"))
            assert NUMBER not in dump


def test_the_hash_needs_the_markets_key() -> None:
    ours = identity.keyed_hash(SECRET, Document.CITIZEN, NUMBER)
    assert ours == identity.keyed_hash(SECRET, Document.CITIZEN, NUMBER)
    assert ours != identity.keyed_hash("x" * 40, Document.CITIZEN, NUMBER)
    assert ours != identity.keyed_hash(SECRET, Document.PASSPORT, NUMBER)


async def test_one_document_stands_for_one_person(sessions: Sessions) -> None:
    by, first, second = await officer(sessions), await host(sessions), await host(sessions)
    looked = Looked(Document.CITIZEN, NUMBER)
    await service.verify_identity(by, first, SECRET, looked)
    with pytest.raises(DocumentKnown):
        await service.verify_identity(by, second, SECRET, looked)
    assert not await verified(sessions, second)
    await service.verify_identity(by, first, SECRET, looked)  # looked at again: fine


async def test_a_no_takes_the_yes_back(sessions: Sessions) -> None:
    by, person = await officer(sessions), await host(sessions)
    await service.verify_identity(by, person, SECRET, Looked(Document.CITIZEN, NUMBER))
    wrong = Looked(Document.CITIZEN, NUMBER, Verdict.WRONG, "Ảnh trên thẻ là người khác")
    await service.verify_identity(by, person, SECRET, wrong)
    assert not await verified(sessions, person)
    async with sessions.read() as db:
        record = (await identity.checks(db, person_ids=[person]))["person", person]
    assert [line.verdict for line in record] == [Verdict.WRONG, Verdict.RIGHT]


@pytest.mark.parametrize(
    ("looked", "field"),
    [
        (Looked("", NUMBER), "kind"),
        (Looked(Document.CITIZEN, "123"), "number"),
        (Looked(Document.PASSPORT, NUMBER), "number"),
        (Looked(Document.BUSINESS, "?"), "number"),
        (Looked(Document.CITIZEN, NUMBER, "maybe"), "verdict"),
        (Looked(Document.CITIZEN, NUMBER, Verdict.WRONG, ""), "note"),
    ],
)
async def test_what_cannot_be_recorded(sessions: Sessions, looked: Looked, field: str) -> None:
    by, person = await officer(sessions), await host(sessions)
    with pytest.raises(Invalid) as refused:
        await service.verify_identity(by, person, SECRET, looked)
    assert [error.field for error in refused.value.errors] == [field]


async def test_not_oneself_and_not_in_another_commune(sessions: Sessions) -> None:
    by, person = await officer(sessions), await host(sessions)
    with pytest.raises(OwnIdentity):
        await service.verify_identity(by, by.person_id, SECRET, Looked(Document.CITIZEN, NUMBER))
    stranger = await officer(sessions, "24490")
    with pytest.raises(Forbidden):
        await service.verify_identity(stranger, person, SECRET, Looked(Document.CITIZEN, NUMBER))
