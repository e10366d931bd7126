"""Every role against every route: what is not declared is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, get

from commerce.core import access
from commerce.core.db import sessions
from commerce.core.roles import Role
from tests import factories

FILL = {"code": "NOPE", "slug": "khong-co", "lang": "vi", "file_path": "css/none.css"}


def routes(app: Litestar) -> Iterator[tuple[str, str, Any]]:
    """(method, path with made-up parameters, declared access) of all our routes."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", []):
            if access.is_framework(handler):
                continue
            path = re.sub(r"\{(\w+)(?::(\w+))?\}", lambda m: FILL.get(m[1], "1"), route.path_format)
            for method in handler.http_methods - {"HEAD", "OPTIONS"}:
                yield method, path, handler.opt.get(access.KEY)


def expected(rule: Any, role: Role | None) -> set[int]:
    """The refusals this caller must meet; empty when the door is open."""
    if rule in ("public", "signature"):
        return set()
    if role is None:
        return {401, 303}
    if rule == "signed_in" or role in rule:
        return set()
    return {403}


@pytest.mark.parametrize("role", [None, *Role])
async def test_every_route_lets_in_whom_it_says_and_nobody_else(
    app: Litestar, client: httpx.AsyncClient, role: Role | None
) -> None:
    walked = 0
    for method, path, rule in routes(app):
        headers = {"Accept": "application/json"}
        if role is not None:
            async with sessions.begin() as db:  # a fresh one each time: one of the routes signs out
                headers["Authorization"] = (
                    f"Bearer {await factories.token(db, await factories.person(db, role))}"
                )
        answer = await client.request(method, path, headers=headers)
        refused = expected(rule, role)
        if refused:
            assert answer.status_code in refused, (method, path, role, answer.status_code)
        else:
            assert _let_in(answer), (method, path, role, answer.status_code, answer.text[:200])
        walked += 1
    assert walked > 20


def _let_in(answer: httpx.Response) -> bool:
    """Past the door; what follows may still refuse for its own reasons, naming them."""
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        return answer.json().get("code") not in ("sign_in_needed", "role_needed", "internal")
    return answer.status_code < 500


async def test_an_undeclared_route_keeps_the_app_from_starting() -> None:
    @get("/secret")
    async def secret() -> None: ...

    with pytest.raises(RuntimeError, match="/secret"):
        access.require_declarations(Litestar([secret], openapi_config=None))
