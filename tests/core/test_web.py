"""Errors, headers and sign-in, through the whole application."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from commerce.accounts import service
from commerce.accounts.errors import UnknownCommune
from commerce.core.db import sessions
from commerce.core.errors import Invalid
from commerce.core.roles import Role
from commerce.core.web import field_error
from tests import factories


async def signed_in(*roles: Role, **values: Any) -> str:
    async with sessions.begin() as db:
        return await factories.token(db, await factories.person(db, *roles, **values))


async def test_unknown_addresses_are_a_page_for_people_and_a_problem_for_programs(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/khong-co", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "text/html" in page.headers["content-type"]
    assert "Không tìm thấy" in page.text
    problem = await client.get("/api/v1/nothing")
    assert problem.status_code == 404
    assert problem.headers["content-type"].startswith("application/problem+json")
    assert problem.json()["code"] == "not_found"
    assert problem.json()["request_id"] == problem.headers["x-request-id"]


async def test_errors_speak_the_readers_language(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/login", json={"phone": "0900000001", "password": "x"})
    assert answer.status_code == 401
    assert answer.json()["title"] == "Chưa đăng nhập được"


@pytest.mark.parametrize(
    ("body", "field"),
    [(b'{"phone": "0900000001"}', "password"), (b'{"phone": 5, "password": "x"}', "phone"), (b"[]", "")],
)
async def test_a_body_that_does_not_fit_names_the_field(
    client: httpx.AsyncClient, body: bytes, field: str
) -> None:
    answer = await client.post("/api/v1/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("body", [b'{"phone": ', b'{"phone": "\xff\xfe", "password": "x"}', b"\x00"])
async def test_what_is_not_json_in_utf8_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/api/v1/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"


async def test_too_large_a_body_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/login", json={"phone": "x" * 100_000, "password": "x"})
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"


async def test_a_form_on_another_site_cannot_act(client: httpx.AsyncClient) -> None:
    token = await signed_in(Role.HOST)
    headers = {"Cookie": f"sign_in={token}", "Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}
    answer = await client.post("/api/v1/logout", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["code"] == "cross_site"
    assert await service.find_identity(token) is not None


async def test_security_headers_are_on_every_answer(client: httpx.AsyncClient) -> None:
    for path in ("/", "/healthz", "/khong-co"):
        headers = (await client.get(path)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


async def test_signing_in_and_out(client: httpx.AsyncClient) -> None:
    async with sessions.begin() as db:
        await factories.commune(db)
    password = await service.open_account("0912 345 678", "Bí thư", "host", factories.EA_KNUEC)
    answer = await client.post("/api/v1/login", json={"phone": "+84912345678", "password": password})
    assert answer.status_code == 200
    assert answer.json()["roles"] == [{"role": "host", "commune": "24505"}]
    bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
    client.cookies.clear()
    assert (await client.get("/api/v1/me", headers=bearer)).json()["name"] == "Bí thư"
    assert (await client.post("/api/v1/logout", headers=bearer)).status_code == 204
    assert (await client.get("/api/v1/me", headers=bearer)).status_code == 401


async def test_guessing_passwords_is_slowed(client: httpx.AsyncClient) -> None:
    service.tries.clear()
    codes = [
        (await client.post("/api/v1/login", json={"phone": "0987654321", "password": "guess"})).json()["code"]
        for _ in range(service.TRIES + 1)
    ]
    assert codes == ["wrong_password"] * service.TRIES + ["too_many_tries"]


async def test_sign_in_page_takes_a_person_to_their_place(client: httpx.AsyncClient) -> None:
    async with sessions.begin() as db:
        await factories.person(
            db, Role.PROVINCE, phone="0900000555", password_hash=service.hash_password("mot-mat-khau")
        )
    answer = await client.post("/login", data={"phone": "0900000555", "password": "mot-mat-khau"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/province")
    wrong = await client.post("/login", data={"phone": "0900000555", "password": "sai"})
    assert wrong.status_code == 401
    assert "0900000555" in wrong.text


async def test_redirects_never_leave_the_market(client: httpx.AsyncClient) -> None:
    for target in ("https://evil.test", "//evil.test", "/\\evil.test"):
        answer = await client.get("/language/en", params={"next": target})
        assert answer.headers["location"] == "/"


async def test_the_chosen_language_is_remembered(client: httpx.AsyncClient) -> None:
    await client.get("/language/en")
    assert client.cookies["lang"] == "en"
    assert '<html lang="en">' in (await client.get("/khong-co", headers={"Accept": "text/html"})).text


async def test_ready_says_which_engine_is_down(client: httpx.AsyncClient, app: Any) -> None:
    assert (await client.get("/readyz")).json()["ready"] is True

    async def broken() -> None:
        raise ConnectionError("refused")

    app.state.storage.check = broken
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["engines"]["postgresql"] == "ok"
    assert "refused" in answer.json()["engines"]["s3"]


async def test_accounts_refuse_bad_input_and_change_nothing(client: httpx.AsyncClient) -> None:
    with pytest.raises(Invalid) as caught:
        await service.open_account("12", " ", "king", None)
    assert [error.field for error in caught.value.errors] == ["phone", "name", "role"]
    with pytest.raises(UnknownCommune):
        await service.open_account("0911111111", "Ai đó", "host", "99999")
    async with sessions.read() as db:
        assert await db.scalar(text("SELECT count(*) FROM person")) == 0


def test_messages_about_bodies_name_the_path() -> None:
    error = field_error("Expected `int`, got `str` - at `$.lines[0].quantity`")
    assert (error.field, error.text("vi")) == ("lines[0].quantity", "Cần một số nguyên.")
