"""The data store: keys that read, views without a person in them."""

from __future__ import annotations

import csv
import html
import io
import re

import asyncpg
import httpx
import openpyxl
import pytest
from sqlalchemy import text

from commerce.analytics import rollup, store
from commerce.core import db as core_db
from commerce.core.embedded import Engines
from commerce.core.roles import Role
from tests.analytics import worlds
from tests.analytics.test_api import SignIn, played, sign_in

__all__ = ["sign_in"]


@pytest.fixture
async def key(client: httpx.AsyncClient, sign_in: SignIn) -> str:
    stage = await worlds.set_stage()
    await played(stage)
    for session_id in stage.session_ids:
        await rollup.roll_up_session(session_id)
    answer = await client.post(
        "/province/store", data={"name": "Kho dữ liệu tỉnh"}, headers=await sign_in(Role.PROVINCE)
    )
    assert answer.status_code == 200
    found = re.search(r"<code>(kho_[\w-]+)</code>", answer.text)
    assert found is not None
    return found[1]


async def test_a_key_reads_every_view(client: httpx.AsyncClient, key: str) -> None:
    for name in (*store.DIMENSIONS, *store.FACTS):
        answer = await client.get(f"/api/v1/store/{name}", headers={"X-Store-Key": key})
        assert answer.status_code == 200, answer.text
        assert answer.json()["next"] is None
    period = {"from": "2025-08-24", "to": "2025-08-24"}
    answer = await client.get("/api/v1/store/fact_session", params=period, headers={"X-Store-Key": key})
    (row,) = answer.json()["rows"]
    assert (row["commune_code"], row["views"], row["gmv"]) == ("24505", 4, 260_000)
    assert (await client.get("/api/v1/store/person", headers={"X-Store-Key": key})).status_code == 404


async def test_without_a_living_key_nothing_is_read(
    client: httpx.AsyncClient, key: str, sign_in: SignIn
) -> None:
    url = "/api/v1/store/dim_commune"
    assert (await client.get(url)).json()["code"] == "store_key_needed"
    assert (await client.get(url, headers={"X-Store-Key": "kho_x"})).status_code == 401
    province = await sign_in(Role.PROVINCE)
    assert (await client.post("/province/store/1/revoke", headers=province)).status_code == 303
    assert (await client.get(url, headers={"X-Store-Key": key})).status_code == 401


async def test_the_key_itself_is_not_kept(client: httpx.AsyncClient, key: str) -> None:
    async with core_db.sessions.read() as db:
        stored = (await db.execute(text("SELECT to_jsonb(k)::text FROM store_key k"))).scalars().all()
    assert stored
    assert not any(key in row for row in stored)


async def test_no_view_holds_a_person(sessions: core_db.Sessions) -> None:
    async with sessions.read() as db:
        columns = (
            await db.execute(
                text("SELECT column_name FROM information_schema.columns WHERE table_schema = 'store'")
            )
        ).scalars()
        names = set(columns)
    assert {"session_code", "commune_code", "day"} <= names
    assert not {name for name in names if re.search("visitor|phone|buyer_|person|host", name)}


async def test_every_table_comes_as_a_file(client: httpx.AsyncClient, key: str, sign_in: SignIn) -> None:
    province = await sign_in(Role.PROVINCE)
    period = {"from": "2025-08-24", "to": "2025-08-24"}
    for name in (*store.DIMENSIONS, *store.FACTS):
        url = f"/province/store/{name}"
        csv_file = await client.get(f"{url}.csv", params=period, headers=province)
        lines = list(csv.reader(io.StringIO(csv_file.content.decode("utf-8-sig"))))
        book = await client.get(f"{url}.xlsx", params=period, headers=province)
        sheet = openpyxl.load_workbook(io.BytesIO(book.content)).active
        assert sheet is not None
        assert [cell.value for cell in sheet[1]] == lines[0]
        assert sheet.max_row == len(lines) >= 1
        page = (await client.get("/province/store", headers=province)).text
        assert all(f"<code>{column}</code>" in page for column in lines[0])
    facts = await client.get("/province/store/fact_session.csv", params=period, headers=province)
    (row,) = csv.DictReader(io.StringIO(facts.content.decode("utf-8-sig")))
    assert (row["commune_code"], row["views"], row["gmv"]) == ("24505", "4", "260000")
    assert (await client.get("/province/store/person.csv", headers=province)).status_code == 404
    host = await sign_in(Role.HOST)
    assert (await client.get("/province/store/fact_session.csv", headers=host)).status_code == 403


async def test_a_read_only_role_reads_the_star_and_nothing_else(
    engines: Engines, database_url: str, client: httpx.AsyncClient, key: str, sign_in: SignIn
) -> None:
    """The statements are those the page shows to the administrator, given as who may make roles."""
    shown = (await client.get("/province/store", headers=await sign_in(Role.PROVINCE))).text
    statements = html.unescape(re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", shown, re.DOTALL)[0])
    role = "bi_for_a_test"
    link = await asyncpg.connect(
        database_url, user="postgres", password=engines.secrets["postgres_superuser"]
    )
    try:
        for statement in (
            statements.replace("TO bi", f"TO {role}").replace("ROLE bi", f"ROLE {role}").split(";")
        ):
            if statement.strip():
                await link.execute(statement)
        await link.execute(f"SET ROLE {role}")
        for name in (*store.DIMENSIONS, *store.FACTS):
            await link.fetch(f"SELECT * FROM store.{name}")
        assert await link.fetchval("SELECT views FROM store.fact_session WHERE day = '2025-08-24'") == 4
        for table in ("person", "visit", '"order"', "session_rollup", "store_key"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await link.fetch(f"SELECT * FROM {table}")
        for statement in ("DELETE FROM store.dim_commune", "UPDATE store.fact_session SET views = 0"):
            with pytest.raises(asyncpg.PostgresError):
                await link.execute(statement)
    finally:
        await link.execute("RESET ROLE")
        await link.execute(f"DROP OWNED BY {role}")
        await link.execute(f"DROP ROLE {role}")
        await link.close()
