"""VietQR: a transfer to a seller's own account as an EMVCo payload, and the QR code of it.

A payload is a row of fields, each a two-digit tag, a two-digit length and the value; field 38 and 62 hold
fields themselves. The last one, 63, is CRC-16/CCITT-FALSE over everything before its value. Known answer
and cross-check with an independent encoder: tests/payments/test_vietqr.py.
"""

from __future__ import annotations

import binascii
import re

import segno

NAPAS = "A000000727"
TRANSFER_TO_ACCOUNT = "QRIBFTTA"
MEMO = re.compile(r"[A-Z0-9]{1,25}")
_BIN = re.compile(r"\d{6}")
_ACCOUNT = re.compile(r"[A-Za-z0-9]{1,19}")


def field(tag: str, value: str) -> str:
    return f"{tag}{len(value):02d}{value}"


def crc(text: str) -> str:
    """CRC-16/CCITT-FALSE in four hex digits; of `123456789` it is 29B1."""
    return f"{binascii.crc_hqx(text.encode('ascii'), 0xFFFF):04X}"


def payload(bank: str, account: str, amount: int | None = None, memo: str = "") -> str:
    """What the QR code says: `amount` in whole dong (None lets the payer type it), `memo` to match it by.

    Raises ValueError for a bank number, account, amount or memo that banking apps would not take.
    """
    if not _BIN.fullmatch(bank):
        raise ValueError(f"a bank number has six digits, not {bank!r}")
    if not _ACCOUNT.fullmatch(account):
        raise ValueError("an account has 1 to 19 letters or digits")
    if amount is not None and not 0 < amount < 10**13:
        raise ValueError("an amount is a positive number of dong")
    if memo and not MEMO.fullmatch(memo):
        raise ValueError("a memo has 1 to 25 capital letters and digits")
    beneficiary = field("00", bank) + field("01", account)
    parts = [
        field("00", "01"),
        field("01", "11" if amount is None else "12"),
        field("38", field("00", NAPAS) + field("01", beneficiary) + field("02", TRANSFER_TO_ACCOUNT)),
        field("53", "704"),
        field("54", str(amount)) if amount is not None else "",
        field("58", "VN"),
        field("62", field("08", memo)) if memo else "",
        "6304",
    ]
    body = "".join(parts)
    return body + crc(body)


def svg(text: str) -> str:
    """The QR code as an inline SVG with a quiet zone, sized by its container."""
    code = segno.make_qr(text, error="m")
    return str(code.svg_inline(scale=1, border=2, dark="#000", light="#fff", omitsize=True, svgclass="qr"))
