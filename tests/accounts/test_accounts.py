"""Codes, devices, and who may look after whose account."""

from __future__ import annotations

import re

import httpx
import pytest

from commerce.accounts import codes, queries, service
from commerce.accounts.errors import WrongCode, WrongPassword
from commerce.core.db import Sessions
from commerce.core.errors import Forbidden, TooMany
from commerce.core.roles import Identity, Role
from tests import factories


class Outbox:
    """A phone network that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    async def send(self, phone: str, text: str) -> None:
        self.sent.append((phone, text))

    @property
    def code(self) -> str:
        found = re.search(r"\d{6}", self.sent[-1][1])
        assert found is not None
        return found[0]


@pytest.fixture(autouse=True)
def fresh_tries() -> None:
    service.tries.clear()


async def someone(sessions: Sessions, *roles: Role, commune: str = factories.EA_KNUEC) -> Identity:
    async with sessions.begin() as db:
        person = await factories.person(db, *roles, commune_code=commune)
        token = await factories.token(db, person)
    found = await service.find_identity(token)
    assert found is not None
    return found


async def test_a_code_signs_in_once(sessions: Sessions) -> None:
    person, sms = await someone(sessions, Role.HOST), Outbox()
    await codes.send_code(person.phone, sms)
    _, identity = await codes.sign_in_with_code(person.phone, sms.code, device="", address="")
    assert identity.person_id == person.person_id
    with pytest.raises(WrongCode):
        await codes.sign_in_with_code(person.phone, sms.code, device="", address="")


async def test_only_the_newest_code_counts_and_guessing_ends_it(sessions: Sessions) -> None:
    person, sms = await someone(sessions, Role.HOST), Outbox()
    await codes.send_code(person.phone, sms)
    first = sms.code
    await codes.send_code(person.phone, sms)
    if first != sms.code:
        with pytest.raises(WrongCode):
            await codes.sign_in_with_code(person.phone, first, device="", address="")
    for _ in range(codes.TRIES):
        with pytest.raises(WrongCode):
            await codes.sign_in_with_code(person.phone, "no", device="", address="")
    with pytest.raises(WrongCode):
        await codes.sign_in_with_code(person.phone, sms.code, device="", address="")


async def test_unknown_phones_get_no_message_and_nobody_gets_a_flood(sessions: Sessions) -> None:
    person, sms = await someone(sessions, Role.HOST), Outbox()
    await codes.send_code("0999999999", sms)
    assert sms.sent == []
    for _ in range(codes.PER_HOUR):
        await codes.send_code(person.phone, sms)
    with pytest.raises(TooMany):
        await codes.send_code(person.phone, sms)


async def test_a_lost_phone_is_signed_out_and_nobody_elses(sessions: Sessions) -> None:
    me, other = await someone(sessions, Role.HOST), await someone(sessions, Role.HELPER)
    second, identity = await service.grant_sign_in(me.person_id, "Chrome Android")
    assert len(await queries.devices(me)) == 2
    await service.sign_out(other, identity.sign_in_id)  # not one's own: nothing happens
    assert await service.find_identity(second) is not None
    await service.sign_out(me, identity.sign_in_id)
    assert await service.find_identity(second) is None
    assert [device.current for device in await queries.devices(me)] == [True]


async def test_changing_the_password_needs_the_old_one_and_ends_other_sign_ins(sessions: Sessions) -> None:
    async with sessions.begin() as db:
        await factories.commune(db)
    old = await service.open_account("0911222333", "Chủ hộ", "seller", factories.EA_KNUEC)
    _, here = await service.sign_in("0911222333", old)
    there, _ = await service.sign_in("0911222333", old)
    with pytest.raises(WrongPassword):
        await service.change_password(here, "sai", "mat-khau-moi")
    await service.change_password(here, old, "mat-khau-moi")
    assert await service.find_identity(there) is None
    await service.sign_in("0911222333", "mat-khau-moi")


@pytest.mark.parametrize(
    ("by", "subject", "commune", "allowed"),
    [
        (Role.OFFICER, Role.SELLER, factories.EA_KNUEC, True),
        (Role.OFFICER, Role.HOST, factories.EA_KNUEC, True),
        (Role.OFFICER, Role.SELLER, "24490", False),
        (Role.OFFICER, Role.PROVINCE, factories.EA_KNUEC, False),
        (Role.PROVINCE, Role.OFFICER, "24490", True),
        (Role.PROVINCE, Role.ADMIN, factories.EA_KNUEC, False),
        (Role.HOST, Role.HELPER, factories.EA_KNUEC, False),
        (Role.ADMIN, Role.PROVINCE, factories.EA_KNUEC, True),
    ],
)
async def test_who_may_give_whom_a_new_password(
    sessions: Sessions, by: Role, subject: Role, commune: str, allowed: bool
) -> None:
    asker = await someone(sessions, by)
    person = await someone(sessions, subject, commune=commune)
    if not allowed:
        with pytest.raises(Forbidden):
            await service.reset_password(asker, person.person_id)
        return
    password = await service.reset_password(asker, person.person_id)
    _, identity = await service.sign_in(person.phone, password)
    assert identity.person_id == person.person_id


async def test_a_closed_account_is_out_at_once(sessions: Sessions) -> None:
    officer, seller = await someone(sessions, Role.OFFICER), await someone(sessions, Role.SELLER)
    token, _ = await service.grant_sign_in(seller.person_id, "")
    await service.set_active(officer, seller.person_id, False)
    assert await service.find_identity(token) is None


async def test_the_office_opens_an_account_in_the_browser(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    async with sessions.begin() as db:
        token = await factories.token(db, await factories.person(db, Role.OFFICER))
    client.cookies.set("sign_in", token)
    form = {"phone": "0912", "name": "Chị Hoa", "role": "seller", "commune": factories.EA_KNUEC}
    wrong = await client.post("/accounts", data=form)
    assert wrong.status_code == 422
    assert "Ví dụ: 0901234567" in wrong.text
    made = await client.post("/accounts", data=form | {"phone": "0912345999"})
    assert made.status_code == 200
    password = re.search(r'class="lead">(\w+)<', made.text)
    assert password is not None
    assert (await service.sign_in("0912345999", password[1]))[1].name == "Chị Hoa"


async def test_the_whole_way_with_a_code_in_the_browser(
    client: httpx.AsyncClient, sessions: Sessions, app: object
) -> None:
    person, sms = await someone(sessions, Role.PROVINCE), Outbox()
    app.state.sms = sms  # type: ignore[attr-defined]
    asked = await client.post("/login/code", data={"phone": person.phone})
    assert "sáu số" in asked.text
    answer = await client.post("/login/code/check", data={"phone": person.phone, "code": sms.code})
    assert (answer.status_code, answer.headers["location"]) == (303, "/province")
    assert (await client.get("/account")).status_code == 200
