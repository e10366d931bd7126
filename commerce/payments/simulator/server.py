"""The stand-in's HTTP: Stripe's form-encoded API, the hosted page, and signed webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import html
import json
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import httpx
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.params import FromPath

from commerce.payments.simulator.state import ApiError, Books

AnyRequest = Request[Any, Any, Any]
PAUSES_S = (0.2, 0.5, 1, 2, 5, 10, 30)  # Stripe's are hours; what matters is that it comes again
_KEY = re.compile(r"\[([^\]]*)\]")


def decode_form(body: bytes) -> dict[str, Any]:
    """`a[b]=1&c[0][d]=2` -> {"a": {"b": "1"}, "c": [{"d": "2"}]}: how Stripe's library writes parameters."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(body.decode(), keep_blank_values=True):
        path = [name.split("[")[0], *_KEY.findall(name)]
        at = found
        for step in path[:-1]:
            at = at.setdefault(step, {})
        at[path[-1]] = value
    listed: dict[str, Any] = _lists(found)
    return listed


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(one) for key, one in value.items()}
    if inner and all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def sign(body: bytes, secret: str, at: int | None = None) -> str:
    """The `Stripe-Signature` header of a webhook's body."""
    moment = int(time.time()) if at is None else at
    signed = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={signed}"


class Teller:
    """Sends webhooks until they are answered 2xx; on demand twice each and out of order."""

    def __init__(self, books: Books, url: str, secret: str, *, unruly: bool = False) -> None:
        self.books, self.url, self.secret, self.unruly = books, url, secret, unruly
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10) as client:
            while True:
                events, self.books.events = self.books.events, []
                if self.unruly:
                    events = events * 2
                    random.shuffle(events)
                for event in events:
                    task = asyncio.create_task(self._send(client, event))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
                await asyncio.sleep(0.05)

    async def _send(self, client: httpx.AsyncClient, event: Mapping[str, Any]) -> None:
        body = json.dumps(event).encode()
        for pause in (*PAUSES_S, None):
            with contextlib.suppress(httpx.HTTPError):
                headers = {
                    "Stripe-Signature": sign(body, self.secret),
                    "Content-Type": "application/json",
                }
                if (await client.post(self.url, content=body, headers=headers)).is_success:
                    return
            if pause is not None:
                await asyncio.sleep(pause)


def create_simulator(
    *, base: str, webhook_url: str, secret: str, unruly: bool = False, books: Books | None = None
) -> Litestar:
    """The application. `base` is its own address, for the hosted page."""
    kept = books or Books()

    def account(request: AnyRequest) -> str:
        if not request.headers.get("authorization", "").startswith(("Bearer sk_test_", "Basic ")):
            raise ApiError("Invalid API Key provided", status=401)
        return str(request.headers.get("stripe-account", ""))

    async def create(request: AnyRequest, kind: str) -> dict[str, Any]:
        who, params = account(request), decode_form(await request.body())
        key = request.headers.get("idempotency-key", "")
        answer = kept.once(who, key, params)
        if answer is None:
            made = kept.open_checkout(who, params, base) if kind == "checkout" else kept.refund(who, params)
            answer = dict(made)
            kept.keep(who, key, params, answer)
        return answer

    @post("/v1/checkout/sessions", status_code=200)
    async def create_session(request: AnyRequest) -> dict[str, Any]:
        return await create(request, "checkout")

    @get("/v1/checkout/sessions/{number:str}")
    async def read_session(request: AnyRequest, number: FromPath[str]) -> dict[str, Any]:
        return kept.checkout(number, account(request))

    @post("/v1/refunds", status_code=200)
    async def create_refund(request: AnyRequest) -> dict[str, Any]:
        return await create(request, "refund")

    @get("/v1/payment_intents/{number:str}")
    async def read_intent(request: AnyRequest, number: FromPath[str]) -> dict[str, Any]:
        account(request)
        if number not in kept.intents:
            raise ApiError("No such payment_intent", status=404, code="resource_missing")
        return kept.intents[number]

    @get("/pay/{number:str}", media_type=MediaType.HTML)
    async def hosted(number: FromPath[str]) -> str:
        return _form(kept.checkout(number))

    @post("/pay/{number:str}", media_type=MediaType.HTML, status_code=200)
    async def submit(request: AnyRequest, number: FromPath[str]) -> Response[str]:
        data = dict(parse_qsl((await request.body()).decode()))
        card = re.sub(r"\D", "", data.get("card", ""))
        session = kept.checkout(number)
        if data.get("answer") == "fail":
            return Response(_form(session, "authentication_failed"))
        outcome = kept.pay(number, card, authenticated=data.get("answer") == "complete")
        if outcome == "paid":
            return Response("", status_code=303, headers={"Location": session["success_url"]})
        if outcome == "authenticate":
            return Response(_authentication(session, card))
        return Response(_form(session, outcome))

    @asynccontextmanager
    async def telling(_: Litestar) -> AsyncIterator[None]:
        teller = asyncio.create_task(Teller(kept, webhook_url, secret, unruly=unruly).run())
        try:
            yield
        finally:
            teller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await teller

    def refused(_: AnyRequest, error: ApiError) -> Response[dict[str, Any]]:
        return Response(error.body, status_code=error.status)

    return Litestar(
        route_handlers=[create_session, read_session, create_refund, read_intent, hosted, submit],
        exception_handlers={ApiError: refused},
        lifespan=[telling],
        openapi_config=None,
    )


# ---- the hosted page

_WORDS = {
    "card_declined": "Thẻ bị từ chối.",
    "insufficient_funds": "Thẻ không đủ tiền.",
    "expired_card": "Thẻ đã hết hạn.",
    "incorrect_cvc": "Mã bảo mật không đúng.",
    "incorrect_number": "Số thẻ không đúng.",
    "authentication_failed": "Không xác thực được chủ thẻ.",
}


_STYLE = (
    "body{font:18px/1.5 sans-serif;max-width:26rem;margin:2rem auto;padding:0 1rem}"
    "input,button{font:inherit;width:100%;padding:.7rem;margin:.3rem 0;box-sizing:border-box}"
)


def _page(body: str) -> str:
    return (
        '<!doctype html><html lang="vi"><meta charset="utf-8"><title>Thanh toán thử</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style>'
        f"<p><small>Trang thẻ mô phỏng: không có tiền thật.</small></p>{body}</html>"
    )


def _form(session: Mapping[str, Any], fault: str = "") -> str:
    if session["status"] != "open":
        return _page("<h1>Trang này đã đóng</h1>")
    amount = f"{session['amount_total']:,}".replace(",", ".")
    problem = f'<p role="alert">{_WORDS.get(fault, fault)}</p>' if fault else ""
    return _page(
        f"<h1>{amount} {html.escape(session['currency'].upper())}</h1>{problem}"
        '<form method="post"><label>Số thẻ <input name="card" inputmode="numeric" autocomplete="cc-number" '
        "required></label><button>Trả tiền</button></form>"
        f'<a href="{html.escape(str(session["cancel_url"]))}">Quay lại</a>'
    )


def _authentication(session: Mapping[str, Any], card: str) -> str:
    return _page(
        '<h1>Ngân hàng xác thực chủ thẻ</h1><form method="post">'
        f'<input type="hidden" name="card" value="{html.escape(card)}">'
        '<button name="answer" value="complete">Đồng ý</button>'
        '<button name="answer" value="fail">Từ chối</button></form>'
    )
