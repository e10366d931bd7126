"""Steps that stories about money share: order, notices of banks, people."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import httpx

from commerce.core.db import sessions
from commerce.core.roles import Role
from commerce.core.seal import seal
from commerce.core.settings import Settings
from commerce.payments.models import BankFeed
from commerce.payments.notices import SEAL, payos_signature
from tests import factories
from tests.orders.market import Market, order_body

API_KEY = "sepay-key-for-tests"
CHECKSUM_KEY = "payos-key-for-tests"
ACCOUNT = "1012345678"
_ids = itertools.count(90_000)


async def add_feeds(settings: Settings, market: Market, account: str = ACCOUNT) -> None:
    seller = next(iter(market.goods.values())).seller_id
    async with sessions.begin() as db:
        for service, secret in (("sepay", API_KEY), ("payos", CHECKSUM_KEY)):
            sealed = seal(settings.secret_key, SEAL, secret)
            db.add(BankFeed(seller_id=seller, service=service, account=account, secret=sealed))


async def order(client: httpx.AsyncClient, payment: str = "vietqr", **lines: int) -> dict[str, Any]:
    answer = await client.post(
        "/api/v1/live-sessions/EAKNUEC/orders",
        json=order_body(payment=payment, **lines),
        headers={"Idempotency-Key": uuid.uuid4().hex},
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["orders"][0]
    return made


async def track(client: httpx.AsyncClient, made: dict[str, Any]) -> dict[str, Any]:
    answer = await client.get(f"/api/v1/orders/{made['code']}", params={"key": made["key"]})
    found: dict[str, Any] = answer.json()
    return found


def sepay_body(
    memo: str, amount: int, *, number: int | None = None, account: str = ACCOUNT
) -> dict[str, Any]:
    return {
        "id": number or next(_ids),
        "gateway": "Vietcombank",
        "transactionDate": "2026-11-23 14:02:37",
        "accountNumber": account,
        "code": None,
        "content": memo,
        "transferType": "in",
        "transferAmount": amount,
        "accumulated": 19_077_000,
        "subAccount": None,
        "referenceCode": "MBVCB.3278907687",
        "description": "",
    }


async def sepay(
    client: httpx.AsyncClient, body: dict[str, Any], authorization: str = f"Apikey {API_KEY}"
) -> httpx.Response:
    return await client.post("/webhooks/sepay", json=body, headers={"Authorization": authorization})


def payos_body(memo: str, amount: int, *, reference: str | None = None) -> dict[str, Any]:
    data = {
        "orderCode": 123,
        "amount": amount,
        "description": memo,
        "accountNumber": ACCOUNT,
        "reference": reference or f"FT{next(_ids)}",
        "transactionDateTime": "2026-11-23 18:25:00",
        "currency": "VND",
        "paymentLinkId": "124c33293c43417ab7879e14c8d9eb18",
        "code": "00",
        "desc": "Thành công",
        "counterAccountName": None,
        "virtualAccountNumber": "",
    }
    return {
        "code": "00",
        "desc": "success",
        "success": True,
        "data": data,
        "signature": payos_signature(data, CHECKSUM_KEY),
    }


async def bearer(role: Role) -> dict[str, str]:
    """Headers of a person with this role in the market's commune."""
    async with sessions.begin() as db:
        return {"Authorization": f"Bearer {await factories.token(db, await factories.person(db, role))}"}
