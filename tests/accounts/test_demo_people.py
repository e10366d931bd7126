"""The sign-in page of a demo market names its made-up people; any other market names nobody."""

from __future__ import annotations

import re
from dataclasses import replace

import httpx
import pytest
from litestar import Litestar

from commerce.accounts.service import hash_password
from commerce.core.db import Sessions
from commerce.core.roles import Role
from tests import factories


@pytest.mark.parametrize("demo", [True, False])
async def test_only_a_demo_market_shows_its_made_up_people(
    app: Litestar, client: httpx.AsyncClient, sessions: Sessions, demo: bool
) -> None:
    app.state.settings = replace(app.state.settings, demo=demo)
    password = hash_password("chophien-demo")
    async with sessions.begin() as db:
        await factories.person(db, Role.HOST, phone="0900000001", demo=True, password_hash=password)
        await factories.person(db, Role.SELLER, phone="0900000004", demo=False, password_hash=password)
        await factories.person(db, Role.HELPER, phone="0900000002", demo=True, active=False)
    page = (await client.get("/login")).text
    assert ("0900000001" in page) is demo
    assert ("không có thật" in page) is demo
    assert "0900000004" not in page
    assert "0900000002" not in page
    if demo:
        section = page[page.index('id="h-demo"') :]
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', section))
        answer = await client.post("/login", data=fields)
        assert (answer.status_code, answer.headers["location"]) == (303, "/host")
