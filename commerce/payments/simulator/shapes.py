"""The objects that Stripe answers, with every field that its library says is always there.

Checked against the library's own types in tests/payments/test_simulator.py. Plain dictionaries: they are
kept, sent as JSON, and changed in place by `state.Books`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

import stripe

Object = dict[str, Any]


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def now() -> int:
    return int(time.time())


def checkout_session(params: Mapping[str, Any], *, total: int, currency: str, ends: int, base: str) -> Object:
    number = new_id("cs_test")
    return {
        "id": number,
        "object": "checkout.session",
        "adaptive_pricing": None,
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "consent": None,
        "consent_collection": None,
        "created": now(),
        "currency": currency,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": None,
        "customer_creation": "if_required",
        "customer_details": None,
        "customer_email": params.get("customer_email"),
        "discounts": [],
        "expires_at": ends,
        "invoice": None,
        "invoice_creation": None,
        "livemode": False,
        "locale": params.get("locale"),
        "metadata": dict(params.get("metadata") or {}),
        "mode": "payment",
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": params.get("success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{base}/c/pay/{number}",
    }


def payment_intent(*, amount: int, currency: str, metadata: Mapping[str, Any]) -> Object:
    number = new_id("pi")
    return {
        "id": number,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{number}_secret_{secrets.token_hex(10)}",
        "confirmation_method": "automatic",
        "created": now(),
        "currency": currency,
        "customer": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": dict(metadata),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }


def charge(intent: Object, card: str, refusal: Object | None) -> Object:
    """What one attempt on an intent became; `refusal`: the error it was refused with."""
    paid = refusal is None
    return {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if paid else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": new_id("txn") if paid else None,
        "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "calculated_statement_descriptor": "CHO PHIEN",
        "captured": paid,
        "created": now(),
        "currency": intent["currency"],
        "customer": None,
        "description": None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": refusal["code"] if refusal else None,
        "failure_message": refusal["message"] if refusal else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": None,
        "paid": paid,
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "payment_method_details": {"card": _card(card), "type": "card"},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "succeeded" if paid else "failed",
        "transfer_data": None,
        "transfer_group": None,
    }


def _card(number: str) -> Object:
    brands = {"4": "visa", "5": "mastercard", "3": "amex" if number.startswith("37") else "jcb"}
    return {
        "brand": brands.get(number[:1], "unknown"),
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "funding": "credit",
        "last4": number[-4:],
        "network": brands.get(number[:1]),
        "three_d_secure": None,
        "wallet": None,
    }


def refund(intent: Object, amount: int, params: Mapping[str, Any], status: str) -> Object:
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": new_id("txn"),
        "charge": intent["latest_charge"],
        "created": now(),
        "currency": intent["currency"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": dict(params.get("metadata") or {}),
        "payment_intent": intent["id"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }


def account(number: str) -> Object:
    return {
        "id": number,
        "object": "account",
        "business_profile": None,
        "business_type": "individual",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "SG",
        "created": now(),
        "default_currency": "sgd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "settings": None,
        "type": "standard",
    }


def event(kind: str, about: Object, *, account: str, request: str | None, key: str | None) -> Object:
    return {
        "id": new_id("evt"),
        "object": "event",
        **({"account": account} if account else {}),
        "api_version": stripe.api_version,
        "created": now(),
        "data": {"object": about},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": request, "idempotency_key": key},
        "type": kind,
    }


def listed(objects: list[Object], url: str) -> Object:
    return {"object": "list", "data": objects, "has_more": False, "url": url}


class ApiError(Exception):
    """Answered as Stripe's error object. `saved`: a repeated key meets it again (the request had begun)."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str = "",
        param: str = "",
        saved: bool = False,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.status = status
        self.saved = saved
        self.headers = dict(headers or {})
        error: Object = {"message": message, "type": kind, **more}
        if code:
            error |= {
                "code": code,
                "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
            }
        if param:
            error["param"] = param
        self.body: Object = {"error": error}
        super().__init__(message)
