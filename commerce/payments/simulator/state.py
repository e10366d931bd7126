"""What the stand-in remembers: checkouts, intents, refunds, keys, news; in memory, and in a file if it has
one.

The rules are Stripe's: what is refused, with which words and codes; what an attempt does to an intent; what
may still go back. Every change that Stripe would tell of becomes an event, told by `server.Teller`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commerce.payments.simulator import cards, shapes
from commerce.payments.simulator.cards import Fate
from commerce.payments.simulator.shapes import ApiError, Object, new_id, now

SHORTEST_S, LONGEST_S = 30 * 60, 24 * 3600
ZERO_DECIMALS = frozenset({"vnd", "jpy", "krw"})
LEAST = {"vnd": 20_000, "usd": 50}
MOST = 99_999_999  # eight digits, in the currency's smallest unit
KEYS_LAST_S = 24 * 3600
NEVER_AGAIN = frozenset({"succeeded", "canceled"})
CONFIRMABLE = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})


@dataclass
class Books:
    """`connected`: accounts that let us act for them; `prefix`: so do all whose name begins so."""

    connected: set[str] = field(default_factory=set)
    prefix: str = ""
    file: Path | None = None
    sessions: dict[str, Object] = field(default_factory=dict)
    intents: dict[str, Object] = field(default_factory=dict)
    charges: dict[str, Object] = field(default_factory=dict)
    refunds: dict[str, Object] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """id of anything -> account it belongs to; objects do not say it themselves"""
    cards: dict[str, str] = field(default_factory=dict)
    """payment method -> number"""
    keys: dict[str, list[Any]] = field(default_factory=dict)
    """`account key` -> [when, parameters, status, answer]"""
    told: dict[str, Object] = field(default_factory=dict)
    """Every event, as one may list them."""
    events: list[Object] = field(default_factory=list)
    """Not delivered yet."""
    later: list[tuple[float, str, str]] = field(default_factory=list)
    """(when, refund, status): refunds whose end comes by itself"""
    promised: dict[str, Object] = field(default_factory=dict)
    """checkout -> metadata of the intent it will have"""
    request: tuple[str | None, str | None] = (None, None)
    """(id, idempotency key) of the request that is being served"""

    # ---- across restarts

    KEPT = (
        "sessions",
        "intents",
        "charges",
        "refunds",
        "owners",
        "cards",
        "keys",
        "told",
        "events",
        "later",
        "promised",
    )

    def load(self) -> None:
        if self.file is not None and self.file.exists():
            for name, value in json.loads(self.file.read_text()).items():
                setattr(self, name, value)
            self.connected |= {one for one in self.owners.values() if one}

    def save(self) -> None:
        if self.file is None:
            return
        new = self.file.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps({name: getattr(self, name) for name in self.KEPT}))
        new.replace(self.file)

    # ---- who asks, and the same question twice

    def check_account(self, account: str) -> None:
        if (
            account
            and account not in self.connected
            and not (self.prefix and account.startswith(self.prefix))
        ):
            raise ApiError(
                f"The provided key 'sk_test_***' does not have access to account '{account}' (or that "
                "account does not exist). Application access may have been revoked.",
                status=403,
                code="account_invalid",
            )

    def answered(self, account: str, key: str, params: Mapping[str, Any]) -> tuple[int, Object] | None:
        """What this key was answered before. Raises `ApiError` if it was used with other parameters."""
        known = self.keys.get(f"{account} {key}") if key else None
        if known is None or known[0] < time.time() - KEYS_LAST_S:
            return None
        if known[1] != json.dumps(params, sort_keys=True):
            raise ApiError(
                "Keys for idempotent requests can only be used with the same parameters they were first used "
                f"with. Try using a key other than '{key}' if you meant to execute a different request.",
                kind="idempotency_error",
            )
        return known[2], known[3]

    def remember(
        self, account: str, key: str, params: Mapping[str, Any], status: int, answer: Object
    ) -> None:
        if key:
            copy = json.loads(json.dumps(answer))
            self.keys[f"{account} {key}"] = [time.time(), json.dumps(params, sort_keys=True), status, copy]

    def tell(self, kind: str, about: Object) -> None:
        request, key = self.request
        owner = self.owners.get(about["id"], "")
        copy = json.loads(json.dumps(about))
        event = shapes.event(kind, copy, account=owner, request=request, key=key)
        self.told[event["id"]] = event
        self.owners[event["id"]] = owner
        self.events.append(event)

    def find(self, kind: str, shelf: Mapping[str, Object], number: str, account: str) -> Object:
        found = shelf.get(number)
        if found is None or self.owners[number] != account:
            raise ApiError(
                f"No such {kind}: '{number}'",
                status=404 if kind != "payment_method" else 400,
                code="resource_missing",
                param=kind if kind != "checkout.session" else "session",
            )
        return found

    # ---- checkouts

    def open_checkout(self, account: str, params: Mapping[str, Any], base: str) -> Object:
        for needed in ("line_items", "mode", "success_url"):
            if not params.get(needed):
                raise ApiError(f"Missing required param: {needed}.", code="parameter_missing", param=needed)
        if params["mode"] != "payment":
            raise ApiError("Only mode=payment is spoken here.", param="mode")
        ends = _whole(params.get("expires_at", now() + LONGEST_S), "expires_at")
        if ends < now() + SHORTEST_S:
            message = "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation."
            raise ApiError(message, param="expires_at")
        if ends > now() + LONGEST_S:
            message = "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation."
            raise ApiError(message, param="expires_at")
        currency, total = _sum(params["line_items"])
        check_amount(total, currency, "line_items")
        session = shapes.checkout_session(params, total=total, currency=currency, ends=ends, base=base)
        self.sessions[session["id"]] = session
        self.owners[session["id"]] = account
        self.promised[session["id"]] = (params.get("payment_intent_data") or {}).get("metadata") or {}
        return session

    def checkout(self, number: str, account: str) -> Object:
        session = self.find("checkout.session", self.sessions, number, account)
        if session["status"] == "open" and session["expires_at"] <= time.time():
            self._end(session)
        return session

    def expire(self, number: str, account: str) -> Object:
        session = self.checkout(number, account)
        if session["status"] != "open":
            raise ApiError(
                'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session '
                f"has a status of `{session['status']}`."
            )
        self._end(session)
        return session

    def _end(self, session: Object) -> None:
        session |= {"status": "expired", "url": None}
        self.tell("checkout.session.expired", session)

    def pay_checkout(self, number: str, card: str) -> Object:
        """One attempt on the hosted page: the intent after it. Raises `ApiError` when it is closed."""
        account = self.owners.get(number, "")
        session = self.checkout(number, account)
        if session["status"] != "open":
            raise ApiError("This Checkout Session is closed.", code="checkout_session_closed")
        if session["payment_intent"] is None:
            promised = self.promised[number]
            intent = self._new_intent(account, session["amount_total"], session["currency"], promised)
            session["payment_intent"] = intent["id"]
        intent = self.intents[session["payment_intent"]]
        self.attempt(intent, self.card(card))
        self.settle_checkout(intent)
        return intent

    def settle_checkout(self, intent: Object) -> None:
        """A checkout whose intent has succeeded is complete."""
        if intent["status"] != "succeeded":
            return
        for session in self.sessions.values():
            if session["payment_intent"] == intent["id"] and session["status"] == "open":
                session |= {"payment_status": "paid", "status": "complete", "url": None}
                self.tell("checkout.session.completed", session)

    # ---- intents

    def open_intent(self, account: str, params: Mapping[str, Any]) -> Object:
        for needed in ("amount", "currency"):
            if not params.get(needed):
                raise ApiError(f"Missing required param: {needed}.", code="parameter_missing", param=needed)
        amount, currency = _whole(params["amount"], "amount"), str(params["currency"]).lower()
        check_amount(amount, currency, "amount")
        intent = self._new_intent(account, amount, currency, params.get("metadata") or {})
        intent["description"] = params.get("description")
        if (params.get("automatic_payment_methods") or {}).get("enabled") == "true":
            intent["automatic_payment_methods"] = {"allow_redirects": "always", "enabled": True}
        if params.get("payment_method"):
            self.find_card(str(params["payment_method"]), account)
            intent |= {"payment_method": params["payment_method"], "status": "requires_confirmation"}
        if str(params.get("confirm", "")).lower() == "true":
            return self.confirm(intent["id"], account, params)
        return intent

    def _new_intent(self, account: str, amount: int, currency: str, metadata: Mapping[str, Any]) -> Object:
        intent = shapes.payment_intent(amount=amount, currency=currency, metadata=metadata)
        self.intents[intent["id"]] = intent
        self.owners[intent["id"]] = account
        self.tell("payment_intent.created", intent)
        return intent

    def confirm(self, number: str, account: str, params: Mapping[str, Any]) -> Object:
        """Raises `ApiError` 402 for a card that is refused."""
        intent = self.find("payment_intent", self.intents, number, account)
        if intent["status"] not in CONFIRMABLE:
            raise ApiError(
                f"You cannot confirm this PaymentIntent because it has already {intent['status']}.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
        method = params.get("payment_method") or intent["payment_method"]
        if not method:
            raise ApiError(
                "You cannot confirm this PaymentIntent because it's missing a payment method.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
        self.find_card(str(method), account)
        self.attempt(intent, str(method), back=str(params.get("return_url") or ""))
        self.settle_checkout(intent)
        failed = intent["last_payment_error"]
        if failed and intent["status"] == "requires_payment_method":
            error = {
                name: value
                for name, value in failed.items()
                if name not in ("message", "type", "code", "doc_url")
            }
            raise ApiError(
                failed["message"],
                status=402,
                kind="card_error",
                code=failed["code"],
                saved=True,
                payment_intent=intent,
                **error,
            )
        return intent

    def cancel(self, number: str, account: str) -> Object:
        intent = self.find("payment_intent", self.intents, number, account)
        if intent["status"] in NEVER_AGAIN:
            raise ApiError(
                f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
        intent |= {"status": "canceled", "canceled_at": now(), "next_action": None}
        self.tell("payment_intent.canceled", intent)
        return intent

    def card(self, number: str) -> str:
        """A payment method for what was typed into a card form."""
        made = new_id("pm")
        self.cards[made] = number
        return made

    def find_card(self, method: str, account: str) -> str:
        number = self.cards.get(method) or cards.NAMED.get(method)
        if number is None:
            raise ApiError(
                f"No such PaymentMethod: '{method}'", code="resource_missing", param="payment_method"
            )
        return number

    def fate(self, intent: Object) -> Fate:
        method = str(intent["payment_method"])
        return cards.fate_of(self.cards.get(method) or cards.NAMED[method])

    def attempt(self, intent: Object, method: str, *, back: str = "") -> None:
        """The card is asked: the intent succeeds, wants its holder to be asked, or waits for another card."""
        intent |= {"payment_method": method, "last_payment_error": None}
        if self.fate(intent).asks:
            url = f"/3ds/{intent['id']}"
            action: Object = {
                "type": "redirect_to_url",
                "redirect_to_url": {"url": url, "return_url": back or None},
            }
            intent |= {"status": "requires_action", "next_action": action}
            self.tell("payment_intent.requires_action", intent)
        else:
            self._charge(intent)

    def authenticate(self, number: str, *, agreed: bool) -> Object:
        """The card's holder answered the bank. Only what waits for an answer can get one."""
        intent = self.intents.get(number)
        if intent is None or intent["status"] != "requires_action":
            raise ApiError("Nothing waits for this answer.", code="payment_intent_unexpected_state")
        intent["next_action"] = None
        if agreed:
            self._charge(intent)
            self.settle_checkout(intent)
        else:
            self._refuse(intent, cards.refusal("payment_intent_authentication_failure"))
        return intent

    def _charge(self, intent: Object) -> None:
        refused = self.fate(intent).refusal
        error = cards.refusal(*refused) if refused else None
        number = self.cards.get(intent["payment_method"]) or cards.NAMED[intent["payment_method"]]
        charge = shapes.charge(intent, number, error)
        self.charges[charge["id"]] = charge
        self.owners[charge["id"]] = self.owners[intent["id"]]
        intent["latest_charge"] = charge["id"]
        if error is not None:
            self.tell("charge.failed", charge)
            self._refuse(intent, error | {"charge": charge["id"]})
            return
        intent |= {"status": "succeeded", "amount_received": intent["amount"], "next_action": None}
        self.tell("charge.succeeded", charge)
        self.tell("payment_intent.succeeded", intent)

    def _refuse(self, intent: Object, error: Object) -> None:
        intent |= {"status": "requires_payment_method", "last_payment_error": error, "payment_method": None}
        self.tell("payment_intent.payment_failed", intent)

    # ---- refunds

    def refund(self, account: str, params: Mapping[str, Any]) -> Object:
        if not params.get("payment_intent"):
            message = (
                "One of the following params should be provided for this request: payment_intent or charge."
            )
            raise ApiError(message, code="parameter_missing")
        intent = self.find("payment_intent", self.intents, str(params["payment_intent"]), account)
        charge = self.charges.get(intent["latest_charge"] or "")
        if charge is None or not charge["paid"]:
            raise ApiError(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                code="payment_intent_unexpected_state",
            )
        left = charge["amount"] - charge["amount_refunded"]
        amount = _whole(params.get("amount", left), "amount")
        if left == 0:
            message = f"Charge {charge['id']} has already been refunded."
            raise ApiError(message, code="charge_already_refunded", saved=True)
        if amount < 1:
            raise ApiError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
        if amount > left:
            raise ApiError(
                f"Refund amount ({_written(amount, charge['currency'])}) is greater than unrefunded "
                f"amount on charge ({_written(left, charge['currency'])})",
                param="amount",
                saved=True,
            )
        first, last = self.fate(intent).refund
        refund = shapes.refund(intent, amount, params, first)
        self.refunds[refund["id"]] = refund
        self.owners[refund["id"]] = account
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self.tell("refund.created", refund)
        self.tell("charge.refunded", charge)
        if last != first:
            self.later.append((time.time() + 1, refund["id"], last))
        return refund

    def let_time_pass(self) -> None:
        """Refunds whose end was still to come, when it has come."""
        while self.later and self.later[0][0] <= time.time():
            _, number, status = self.later.pop(0)
            refund = self.refunds[number]
            refund["status"] = status
            if status == "failed":
                refund |= {
                    "failure_reason": "expired_or_canceled_card",
                    "failure_balance_transaction": new_id("txn"),
                }
                charge = self.charges[refund["charge"]]
                charge["amount_refunded"] -= refund["amount"]
                charge["refunded"] = False
                self.tell("refund.failed", refund)
            self.tell("refund.updated", refund)


def check_amount(amount: int, currency: str, param: str) -> None:
    """Amounts are in the smallest unit: whole dong, not hundredths. Raises `ApiError`."""
    if currency not in LEAST:
        raise ApiError(f"Invalid currency: {currency}.", param="currency")
    if amount < LEAST[currency]:
        raise ApiError(
            f"Amount must convert to at least 50 cents. {_written(amount, currency)} is less than that.",
            code="amount_too_small",
            param=param,
        )
    if amount > MOST:
        message = f"Amount must be no more than {_written(MOST, currency)}"
        raise ApiError(message, code="amount_too_large", param=param)


def _written(amount: int, currency: str) -> str:
    if currency in ZERO_DECIMALS:
        return f"₫{amount:,}" if currency == "vnd" else f"{amount:,} {currency}"
    return f"${amount // 100:,}.{amount % 100:02}"


def _sum(items: Any) -> tuple[str, int]:
    currencies, total = set(), 0
    for index, item in enumerate(items if isinstance(items, list) else [items]):
        price = item.get("price_data") or {}
        for needed in ("currency", "unit_amount", "product_data"):
            if not price.get(needed):
                name = f"line_items[{index}][price_data][{needed}]"
                raise ApiError(f"Missing required param: {name}.", code="parameter_missing", param=name)
        currencies.add(str(price["currency"]).lower())
        unit = _whole(price["unit_amount"], f"line_items[{index}][price_data][unit_amount]")
        total += unit * _whole(item.get("quantity", 1), f"line_items[{index}][quantity]")
    if len(currencies) != 1:
        raise ApiError("All line items must have the same currency.", param="line_items")
    return currencies.pop(), total


def _whole(text: Any, param: str) -> int:
    try:
        return int(str(text))
    except ValueError:
        raise ApiError(f"Invalid integer: {text}", code="parameter_invalid_integer", param=param) from None
