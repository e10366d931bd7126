"""VietQR payloads against the known answer and an independent encoder."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vietnam_qr_pay import QRPay

from commerce.payments import vietqr

KNOWN = (
    "00020101021238540010A00000072701240006970436011010123456780208QRIBFTTA"
    "530370454061850005802VN62170813DL24505A1B2C363049514"
)
CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def test_the_known_answer() -> None:
    assert vietqr.payload("970436", "1012345678", 185_000, "DL24505A1B2C3") == KNOWN


def test_the_check_value() -> None:
    assert vietqr.crc("123456789") == "29B1"


CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other tests may run beside


@CALM
@given(
    bank=st.text("0123456789", min_size=6, max_size=6),
    account=st.text("0123456789", min_size=6, max_size=19),
    amount=st.integers(1, 10**12),
    memo=st.text(CAPITALS, min_size=1, max_size=25),
)
def test_an_independent_encoder_agrees(bank: str, account: str, amount: int, memo: str) -> None:
    theirs = QRPay.init_viet_qr(bank_bin=bank, bank_number=account, amount=str(amount), purpose=memo)
    assert vietqr.payload(bank, account, amount, memo) == theirs.build()


@CALM
@given(account=st.text("0123456789", min_size=6, max_size=19))
def test_without_amount_the_payer_types_it(account: str) -> None:
    ours = vietqr.payload("970436", account)
    assert ours[6:12] == "010211"
    assert ours == QRPay.init_viet_qr(bank_bin="970436", bank_number=account).build()


@pytest.mark.parametrize(
    ("bank", "account", "amount", "memo"),
    [
        ("97043", "1012345678", 1, "A"),
        ("970436", "", 1, "A"),
        ("970436", "1" * 20, 1, "A"),
        ("970436", "1012345678", 0, "A"),
        ("970436", "1012345678", -5, "A"),
        ("970436", "1012345678", 1, "đơn hàng"),
        ("970436", "1012345678", 1, "A" * 26),
        ("970436", "1012345678", 1, "a"),
    ],
)
def test_what_banks_would_not_take_is_refused(bank: str, account: str, amount: int, memo: str) -> None:
    with pytest.raises(ValueError, match=r"bank|account|amount|memo"):
        vietqr.payload(bank, account, amount, memo)


def test_the_picture_is_an_inline_svg() -> None:
    picture = vietqr.svg(KNOWN)
    assert picture.startswith("<svg")
    assert "viewBox" in picture
    assert "<?xml" not in picture
