"""The stand-in's HTTP: Stripe's form-encoded API, the hosted pages, and signed webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import stripe
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.params import FromPath
from stripe.params import PaymentIntentConfirmParams, PaymentIntentCreateParams, RefundCreateParams
from stripe.params.checkout import SessionCreateParams

from commerce.payments.simulator import pages, shapes
from commerce.payments.simulator.shapes import ApiError, Object, new_id
from commerce.payments.simulator.state import Books

AnyRequest = Request[Any, Any, Any]
PAUSES_S = (0.2, 0.5, 1, 2, 5, 10, 30)  # Stripe's are hours; what matters is that it comes again
_KEY = re.compile(r"\[([^\]]*)\]")
# How the library's types name what travels in headers.
_OPTIONS = {"api_key", "content_type", "headers", "idempotency_key", "max_network_retries"}
_OPTIONS |= {"stripe_account", "stripe_context", "stripe_version"}


def decode_form(text: str) -> Object:
    """`a[b]=1&c[0][d]=2` -> {"a": {"b": "1"}, "c": [{"d": "2"}]}: how Stripe's library writes parameters."""
    found: Object = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        path = [name.split("[")[0], *_KEY.findall(name)]
        at = found
        for step in path[:-1]:
            at = at.setdefault(step, {})
        at[path[-1]] = value
    listed: Object = _lists(found)
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
    """Sends webhooks until they are answered 2xx; on demand twice each and out of order.

    What is not delivered stays in the books, so that a stand-in that was killed tells it when it is back.
    """

    def __init__(self, books: Books, url: str, secret: str, *, unruly: bool = False) -> None:
        self.books, self.url, self.secret, self.unruly = books, url, secret, unruly
        self._sending: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10) as client:
            try:
                while True:
                    self.books.let_time_pass()
                    new = [event for event in self.books.events if event["id"] not in self._sending]
                    if self.unruly:
                        random.shuffle(new)
                    for event in new:
                        self._sending[event["id"]] = asyncio.create_task(self._send(client, event))
                    await asyncio.sleep(0.05)
            finally:
                for task in self._sending.values():
                    task.cancel()
                await asyncio.gather(*self._sending.values(), return_exceptions=True)

    async def _send(self, client: httpx.AsyncClient, event: Mapping[str, Any]) -> None:
        body = json.dumps(event).encode()
        for pause in (*PAUSES_S, None):
            if self.unruly:
                await asyncio.sleep(random.random() / 4)  # noqa: S311
            if await self._post(client, body) and (not self.unruly or await self._post(client, body)):
                break
            if pause is not None:
                await asyncio.sleep(pause)
        self.books.events.remove(event)  # type: ignore[arg-type]
        self._sending.pop(event["id"], None)
        self.books.save()

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> bool:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(body, self.secret),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        with contextlib.suppress(httpx.HTTPError):
            return (await client.post(self.url, content=body, headers=headers)).is_success
        return False


class Limit:
    """At most `rate` requests a second, as in Stripe's test mode; 0 for no limit."""

    def __init__(self, rate: int) -> None:
        self.rate, self._second, self._seen = rate, 0, 0

    def check(self) -> None:
        """Raises `ApiError` 429."""
        second = int(time.monotonic())
        self._seen = self._seen + 1 if second == self._second else 1
        self._second = second
        if self.rate and self._seen > self.rate:
            raise ApiError(
                "Request rate limit exceeded. Learn more about rate limits "
                "https://stripe.com/docs/rate-limits.",
                status=429,
                code="rate_limit",
                headers={"Stripe-Rate-Limited-Reason": "global-rate"},
            )


class Api:
    """What every call passes: the key, the account, the rate, the parameters' names, the idempotency key."""

    def __init__(self, books: Books, rate: int) -> None:
        self.books, self.limit = books, Limit(rate)
        self.faults = 0
        """So many of the next calls fail with 500, after they have done what they were asked to."""

    def account(self, request: AnyRequest) -> str:
        """The connected account that is acted for, empty for our own. Raises `ApiError`."""
        given = request.headers.get("authorization", "")
        if not given:
            raise ApiError("You did not provide an API key.", status=401)
        if not given.startswith(("Bearer sk_test_", "Bearer rk_test_")):
            raise ApiError(f"Invalid API Key provided: {given[7:15]}****", status=401)
        account = str(request.headers.get("stripe-account", ""))
        self.books.check_account(account)
        self.limit.check()
        return account

    def read(self, request: AnyRequest, do: Callable[[str], Object]) -> Response[Object]:
        return self._response(do(self.account(request)))

    async def write(
        self, request: AnyRequest, known: type, do: Callable[[str, Object], Object]
    ) -> Response[Object]:
        """`known`: the library's type of the parameters; others are refused, as the original does."""
        account, params = self.account(request), decode_form((await request.body()).decode())
        key = request.headers.get("idempotency-key", "")
        if len(key) > 255:
            raise ApiError("Idempotency keys must be at most 255 characters.", kind="idempotency_error")
        asked = {"path": request.url.path, "params": params}
        known_answer = self.books.answered(account, key, asked)
        if known_answer is not None:
            return self._response(known_answer[1], known_answer[0], key=key, replayed=True)
        if unknown := sorted(set(params) - (set(known.__annotations__) - _OPTIONS)):
            message = f"Received unknown parameter{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}"
            raise ApiError(message, code="parameter_unknown", param=unknown[0])
        self.books.request = (new_id("req"), key or None)
        try:
            answer = do(account, params)
        except ApiError as error:
            if error.saved:
                self.books.remember(account, key, asked, error.status, error.body)
            raise
        finally:
            self.books.request = (None, None)
            self.books.save()
        self.books.remember(account, key, asked, 200, answer)
        self.books.save()
        if self.faults:
            self.faults -= 1
            raise ApiError("An unknown error occurred", status=500, kind="api_error")
        return self._response(answer, key=key)

    def _response(
        self, answer: Object, status: int = 200, *, key: str = "", replayed: bool = False
    ) -> Response[Object]:
        headers = {"Request-Id": new_id("req"), "Stripe-Version": stripe.api_version}
        if key:
            headers["Idempotency-Key"] = key
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(answer, status_code=status, headers=headers)


class NoParams:
    """Of calls that take none but those every call takes."""

    expand: list[str]


def create_simulator(
    *,
    base: str,
    webhook_url: str,
    secret: str,
    unruly: bool = False,
    books: Books | None = None,
    rate: int = 0,
    bank_url: str = "",
) -> Litestar:
    """The application. `base` is its own address, for the hosted pages; `state.api` is its `Api`.

    `bank_url`: where notices of transfers go, with `secret` as SePay's key; empty for no bank.
    """
    kept = books or Books()
    kept.load()
    api = Api(kept, rate)

    @asynccontextmanager
    async def telling(_: Litestar) -> AsyncIterator[None]:
        teller = asyncio.create_task(Teller(kept, webhook_url, secret, unruly=unruly).run())
        try:
            yield
        finally:
            teller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await teller
            kept.save()

    def refused(_: AnyRequest, error: ApiError) -> Response[Object]:
        return Response(error.body, status_code=error.status, headers=error.headers)

    app = Litestar(
        route_handlers=[
            *_api_routes(api, kept, base),
            *_page_routes(kept),
            *(_bank_routes(bank_url, secret) if bank_url else ()),
        ],
        exception_handlers={ApiError: refused},
        lifespan=[telling],
        openapi_config=None,
    )
    app.state.api = api
    return app


def _api_routes(api: Api, books: Books, base: str) -> list[Any]:
    @post("/v1/checkout/sessions", status_code=200)
    async def open_session(request: AnyRequest) -> Response[Object]:
        return await api.write(
            request, SessionCreateParams, lambda who, params: books.open_checkout(who, params, base)
        )

    @get("/v1/checkout/sessions/{number:str}")
    async def read_session(request: AnyRequest, number: FromPath[str]) -> Response[Object]:
        return api.read(request, lambda who: books.checkout(number, who))

    @post("/v1/checkout/sessions/{number:str}/expire", status_code=200)
    async def expire_session(request: AnyRequest, number: FromPath[str]) -> Response[Object]:
        return await api.write(request, NoParams, lambda who, _: books.expire(number, who))

    @post("/v1/payment_intents", status_code=200)
    async def open_intent(request: AnyRequest) -> Response[Object]:
        return await api.write(request, PaymentIntentCreateParams, books.open_intent)

    @get("/v1/payment_intents/{number:str}")
    async def read_intent(request: AnyRequest, number: FromPath[str]) -> Response[Object]:
        return api.read(request, lambda who: books.find("payment_intent", books.intents, number, who))

    @post("/v1/payment_intents/{number:str}/confirm", status_code=200)
    async def confirm(request: AnyRequest, number: FromPath[str]) -> Response[Object]:
        return await api.write(
            request, PaymentIntentConfirmParams, lambda who, params: books.confirm(number, who, params)
        )

    @post("/v1/payment_intents/{number:str}/cancel", status_code=200)
    async def cancel(request: AnyRequest, number: FromPath[str]) -> Response[Object]:
        return await api.write(request, NoParams, lambda who, _: books.cancel(number, who))

    @post("/v1/refunds", status_code=200)
    async def refund(request: AnyRequest) -> Response[Object]:
        return await api.write(request, RefundCreateParams, books.refund)

    @get("/v1/refunds/{number:str}")
    async def read_refund(request: AnyRequest, number: FromPath[str]) -> Response[Object]:
        return api.read(request, lambda who: books.find("refund", books.refunds, number, who))

    @get("/v1/charges/{number:str}")
    async def read_charge(request: AnyRequest, number: FromPath[str]) -> Response[Object]:
        return api.read(request, lambda who: books.find("charge", books.charges, number, who))

    @get("/v1/accounts/{number:str}")
    async def read_account(request: AnyRequest, number: FromPath[str]) -> Response[Object]:
        api.account(request)
        books.check_account(number)
        return api.read(request, lambda _: shapes.account(number))

    @get("/v1/events")
    async def events(request: AnyRequest) -> Response[Object]:
        def newest_first(who: str) -> Object:
            mine = [one for number, one in books.told.items() if books.owners[number] == who]
            return shapes.listed(mine[::-1][:100], "/v1/events")

        return api.read(request, newest_first)

    checkouts = [open_session, read_session, expire_session]
    intents = [open_intent, read_intent, confirm, cancel]
    return [*checkouts, *intents, refund, read_refund, read_charge, read_account, events]


def _page_routes(books: Books) -> list[Any]:
    def show(number: str, fault: str = "", card: str = "") -> Response[str]:
        session = books.checkout(number, books.owners.get(number, ""))
        text = pages.card_form(session, str(session["client_reference_id"] or ""), fault, card)
        return Response(text, media_type=MediaType.HTML, status_code=200)

    def after(number: str, card: str = "") -> Response[str]:
        """Where the attempt leaves the buyer: on at the bank, back at the seller, or here with the fault."""
        intent = books.intents[books.sessions[number]["payment_intent"]]
        if intent["status"] == "requires_action":
            return Response(pages.authentication(intent), media_type=MediaType.HTML, status_code=200)
        if intent["status"] == "succeeded":
            return Response("", status_code=303, headers={"Location": books.sessions[number]["success_url"]})
        error = intent["last_payment_error"]
        return show(
            number,
            error.get("decline_code") if error.get("decline_code") in pages.WORDS else error["code"],
            card,
        )

    @get("/c/pay/{number:str}", media_type=MediaType.HTML)
    async def hosted(number: FromPath[str]) -> Response[str]:
        return show(number)

    @post("/c/pay/{number:str}", media_type=MediaType.HTML, status_code=200)
    async def submit(request: AnyRequest, number: FromPath[str]) -> Response[str]:
        data = dict(parse_qsl((await request.body()).decode()))
        card = re.sub(r"\D", "", data.get("card", ""))
        fault = form_fault(card, data.get("expiry", ""), data.get("cvc", ""))
        session = books.checkout(number, books.owners.get(number, ""))
        if fault or session["status"] != "open":
            return show(number, fault, data.get("card", ""))
        books.pay_checkout(number, card)
        books.save()
        return after(number, data.get("card", ""))

    @get("/3ds/{number:str}", media_type=MediaType.HTML)
    async def ask(number: FromPath[str]) -> str:
        return pages.authentication(books.intents[number])

    @post("/3ds/{number:str}", media_type=MediaType.HTML, status_code=200)
    async def answer(request: AnyRequest, number: FromPath[str]) -> Response[str]:
        data = dict(parse_qsl((await request.body()).decode()))
        action = (books.intents.get(number) or {}).get("next_action") or {}
        intent = books.authenticate(number, agreed=data.get("answer") == "complete")
        books.save()
        for session in books.sessions.values():
            if session["payment_intent"] == number:
                return after(session["id"])
        back = (action.get("redirect_to_url") or {}).get("return_url") or "/"
        told = {
            "payment_intent": number,
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": "succeeded" if intent["status"] == "succeeded" else "failed",
        }
        where = f"{back}{'&' if '?' in back else '?'}{urlencode(told)}"
        return Response("", status_code=303, headers={"Location": where})

    return [hosted, submit, ask, answer]


def _bank_routes(url: str, key: str) -> list[Any]:
    """A bank for the demo: the transfer is made on a page, and its notice comes as SePay sends it."""
    numbers = itertools.count(int(time.time() * 1000))

    @get("/bank", media_type=MediaType.HTML)
    async def ask(request: AnyRequest) -> str:
        asked = {name: request.query_params.get(name, "") for name in ("amount", "memo", "account", "back")}
        return pages.transfer(asked, {"account": asked["account"], "back": asked["back"]})

    @post("/bank", status_code=303)
    async def send(request: AnyRequest) -> Response[str]:
        data = dict(parse_qsl((await request.body()).decode()))
        notice = {
            "id": next(numbers),
            "gateway": "MoPhong",
            "transactionDate": time.strftime("%Y-%m-%d %H:%M:%S"),
            "accountNumber": data.get("account", ""),
            "code": None,
            "content": f"MP {data.get('memo', '')} CT",
            "transferType": "in",
            "transferAmount": int(re.sub(r"\D", "", data.get("amount", "")) or 0),
            "referenceCode": new_id("MP"),
        }
        async with httpx.AsyncClient(timeout=10) as client:
            await client.post(url, json=notice, headers={"Authorization": f"Apikey {key}"})
        return Response("", status_code=303, headers={"Location": data.get("back") or "/"})

    return [ask, send]


def form_fault(card: str, expiry: str, cvc: str) -> str:
    """What the card form itself finds wrong, before anybody is asked."""
    if not card:
        return "incomplete_number"
    found = re.fullmatch(r"\s*(\d{1,2})\s*/?\s*(?:20)?(\d{2})\s*", expiry)
    if found is None or not 1 <= int(found[1]) <= 12:
        return "incomplete_expiry"
    today = time.gmtime()
    if (2000 + int(found[2]), int(found[1])) < (today.tm_year, today.tm_mon):
        return "invalid_expiry"
    return "" if re.fullmatch(r"\d{3,4}", cvc.strip()) else "incomplete_cvc"
