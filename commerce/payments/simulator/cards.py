"""Stripe's documented test cards (https://docs.stripe.com/testing): what happens to each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from commerce.payments.simulator.shapes import Object


@dataclass(frozen=True, slots=True)
class Fate:
    """`asks`: the bank asks the holder first (3-D Secure). `refusal`: (code, decline code). `refund`: what
    becomes of money that is sent back: the status it starts with and the one it ends with."""

    asks: bool = False
    refusal: tuple[str, str] | None = None
    refund: tuple[str, str] = ("succeeded", "succeeded")


def _declined(reason: str, *, asks: bool = False) -> Fate:
    return Fate(asks, ("card_declined", reason))


CARDS = {
    "4242424242424242": Fate(),
    "4000056655665556": Fate(),
    "5555555555554444": Fate(),
    "378282246310005": Fate(),
    "3566002020360505": Fate(),
    "4000002500003155": Fate(asks=True),
    "4000002760003184": Fate(asks=True),
    "4000000000003220": Fate(asks=True),
    "4000008400001629": _declined("generic_decline", asks=True),
    "4000008260003178": _declined("insufficient_funds", asks=True),
    "4000000000000002": _declined("generic_decline"),
    "4000000000009995": _declined("insufficient_funds"),
    "4000000000009987": _declined("lost_card"),
    "4000000000009979": _declined("stolen_card"),
    "4000000000000069": Fate(refusal=("expired_card", "expired_card")),
    "4000000000000127": Fate(refusal=("incorrect_cvc", "incorrect_cvc")),
    "4000000000000119": Fate(refusal=("processing_error", "processing_error")),
    "4000000000007726": Fate(refund=("pending", "succeeded")),
    "4000000000005126": Fate(refund=("succeeded", "failed")),
}
NAMED = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_threeDSecure2Required": "4000000000003220",
    "pm_card_pendingRefund": "4000000000007726",
    "pm_card_refundFail": "4000000000005126",
}
"""Payment methods that programs name in place of a number."""

_MESSAGES = {
    "card_declined": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "incorrect_number": "Your card number is incorrect.",
    "invalid_number": "Your card number is not a valid credit card number.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "payment_intent_authentication_failure": (
        "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new "
        "PaymentMethod to attempt to fulfill this PaymentIntent again."
    ),
}


def refusal(code: str, decline_code: str = "") -> Object:
    """The body of a card error."""
    error: Object = {
        "type": "card_error",
        "code": code,
        "message": _MESSAGES.get(decline_code) or _MESSAGES[code],
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
    }
    return error | ({"decline_code": decline_code} if decline_code else {})


def fate_of(number: str) -> Fate:
    """Of any other number: refused as the original does, by its check digit."""
    digits = re.sub(r"\D", "", number)
    if digits in CARDS:
        return CARDS[digits]
    return Fate(
        refusal=("card_declined", "test_mode_live_card") if _plausible(digits) else ("incorrect_number", "")
    )


def _plausible(digits: str) -> bool:
    """Luhn's check digit."""
    if not 12 <= len(digits) <= 19:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
