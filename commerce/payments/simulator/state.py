"""What the stand-in remembers: checkouts, intents, refunds, idempotency keys, events; all in memory."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Stripe's documented test cards: number -> what happens. Any other number is refused as incorrect.
CARDS = {
    "4242424242424242": "success",
    "5555555555554444": "success",
    "4000002760003184": "authenticate",
    "4000000000003220": "authenticate",
    "4000000000000002": "card_declined",
    "4000000000009995": "insufficient_funds",
    "4000000000000069": "expired_card",
    "4000000000000127": "incorrect_cvc",
}
SHORTEST_S, LONGEST_S = 30 * 60, 24 * 3600
SMALLEST = {"vnd": 10_000}


class ApiError(Exception):
    """Answered as Stripe's error object."""

    def __init__(self, message: str, *, status: int = 400, code: str = "", kind: str = "") -> None:
        self.status = status
        self.body = {
            "error": {"type": kind or "invalid_request_error", "code": code or None, "message": message}
        }
        super().__init__(message)


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


@dataclass
class Books:
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, dict[str, Any]]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    """Not told yet."""

    def once(self, account: str, key: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """What this key was answered before. Raises `ApiError` if it was used with other parameters."""
        known = self.keys.get((account, key)) if key else None
        if known is None:
            return None
        if known[0] != json.dumps(params, sort_keys=True):
            raise ApiError(
                "Keys for idempotent requests can only be used with the same parameters they were first used "
                "with.",
                kind="idempotency_error",
            )
        return known[1]

    def keep(self, account: str, key: str, params: Mapping[str, Any], answer: dict[str, Any]) -> None:
        if key:
            self.keys[account, key] = (json.dumps(params, sort_keys=True), answer)

    def tell(self, account: str, kind: str, about: dict[str, Any]) -> None:
        event = {
            "id": new_id("evt"),
            "object": "event",
            "type": kind,
            "account": account or None,
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": json.loads(json.dumps(about))},
        }
        self.events.append(event)

    # ---- checkouts

    def open_checkout(self, account: str, params: Mapping[str, Any], base: str) -> dict[str, Any]:
        items = params.get("line_items") or []
        if params.get("mode") != "payment" or not items:
            raise ApiError("mode must be payment, with line_items")
        now = int(time.time())
        ends = int(params.get("expires_at") or now + LONGEST_S)
        if not now + SHORTEST_S <= ends <= now + LONGEST_S:
            raise ApiError("The `expires_at` timestamp must be between 30 minutes and 24 hours from now.")
        currency = str(items[0]["price_data"]["currency"])
        total = sum(int(item["price_data"]["unit_amount"]) * int(item["quantity"]) for item in items)
        if total < SMALLEST.get(currency, 50):
            raise ApiError("Amount too small.", code="amount_too_small")
        number = new_id("cs_test")
        session = {
            "id": number,
            "object": "checkout.session",
            "amount_total": total,
            "client_reference_id": params.get("client_reference_id"),
            "currency": currency,
            "expires_at": ends,
            "livemode": False,
            "metadata": dict(params.get("metadata") or {}),
            "mode": "payment",
            "payment_intent": None,
            "payment_status": "unpaid",
            "status": "open",
            "success_url": params.get("success_url"),
            "cancel_url": params.get("cancel_url"),
            "url": f"{base}/pay/{number}",
            "account": account,
        }
        self.sessions[number] = session
        return session

    def checkout(self, number: str, account: str | None = None) -> dict[str, Any]:
        session = self.sessions.get(number)
        if session is None or (account is not None and session["account"] != account):
            raise ApiError(f"No such checkout.session: {number}", status=404, code="resource_missing")
        if session["status"] == "open" and session["expires_at"] <= time.time():
            session |= {"status": "expired", "url": None}
            self.tell(session["account"], "checkout.session.expired", session)
        return session

    def pay(self, number: str, card: str, *, authenticated: bool = False) -> str:
        """`paid`, `authenticate`, or the decline code, in which case the checkout stays open."""
        session = self.checkout(number)
        if session["status"] != "open":
            raise ApiError("This checkout is closed.", code="checkout_closed")
        fate = CARDS.get(card, "incorrect_number")
        if fate == "authenticate" and not authenticated:
            return fate
        if fate not in ("success", "authenticate"):
            return fate
        intent = {
            "id": new_id("pi"),
            "object": "payment_intent",
            "amount": session["amount_total"],
            "amount_received": session["amount_total"],
            "currency": session["currency"],
            "metadata": session["metadata"],
            "status": "succeeded",
            "account": session["account"],
            "livemode": False,
        }
        self.intents[str(intent["id"])] = intent
        session |= {
            "payment_intent": intent["id"],
            "payment_status": "paid",
            "status": "complete",
            "url": None,
        }
        self.tell(session["account"], "payment_intent.succeeded", intent)
        self.tell(session["account"], "checkout.session.completed", session)
        return "paid"

    # ---- refunds

    def refund(self, account: str, params: Mapping[str, Any]) -> dict[str, Any]:
        intent = self.intents.get(str(params.get("payment_intent")))
        if intent is None or intent["account"] != account:
            raise ApiError("No such payment_intent", status=404, code="resource_missing")
        done = sum(
            one["amount"]
            for one in self.refunds.values()
            if one["payment_intent"] == intent["id"] and one["status"] != "failed"
        )
        amount = int(params.get("amount") or intent["amount"] - done)
        if amount <= 0 or amount > intent["amount"] - done:
            raise ApiError(
                f"Refund amount ({amount}) is greater than unrefunded amount on charge "
                f"({intent['amount'] - done})",
                code="charge_already_refunded" if done == intent["amount"] else "amount_too_large",
            )
        refund = {
            "id": new_id("re"),
            "object": "refund",
            "amount": amount,
            "currency": intent["currency"],
            "metadata": dict(params.get("metadata") or {}),
            "payment_intent": intent["id"],
            "status": "succeeded",
        }
        self.refunds[str(refund["id"])] = refund
        self.tell(account, "refund.created", refund)
        return refund
