"""Phone numbers as Vietnamese people write them, kept in the national form: digits from 0."""

from __future__ import annotations

import re

import phonenumbers

_PLAIN_MOBILE = re.compile(r"0[35789]\d{8}")
_LETTER_O = str.maketrans({"o": "0", "O": "0"})


def normalise(text: str) -> str | None:
    """`+84 901.234.567`, `o901234567` -> `0901234567`; None when it is no Vietnamese number."""
    written = text.strip().translate(_LETTER_O)
    if _PLAIN_MOBILE.fullmatch(written):
        return written  # nearly all of them, without the price of the full parser
    try:
        number = phonenumbers.parse(written, "VN")
    except phonenumbers.NumberParseException:
        return None
    if number.country_code != 84 or not phonenumbers.is_valid_number(number):
        return None
    return f"0{number.national_number}"
