"""Orders read out of comments: every spelling of the domain, and what must leave a doubt."""

from __future__ import annotations

import random
import string
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce.live.comment_orders import Doubt, Reading, join, read
from tests.live import comments_report

CODES = {"A1", "A2", "A3", "A10", "B1", "B3"}
PHONE = "0901234567"

# text -> ({code: quantity}, phone); all without a doubt
SURE: dict[str, tuple[dict[str, int], str | None]] = {
    "A1 x2 0901234567": ({"A1": 2}, PHONE),
    "chốt 2 thùng mã a1 sđt 0901.234.567": ({"A1": 2}, PHONE),
    "B3 M 2kg +84901234567": ({"B3": 2}, PHONE),
    "a1 2kg o9o1234567": ({"A1": 2}, PHONE),
    "A1 x2 O9O1.234.567": ({"A1": 2}, PHONE),
    "0901 234 567 a1": ({"A1": 1}, PHONE),
    "0901-234-567 lấy a1 3 ký": ({"A1": 3}, PHONE),
    "sdt: 0901-234-567, a2 x 3": ({"A2": 3}, PHONE),
    "a2 x3 sdt 901234567": ({"A2": 3}, PHONE),
    "A1 x2 84901234567": ({"A1": 2}, PHONE),
    "A1 x2 (+84) 901 234 567": ({"A1": 2}, PHONE),
    "+84 901 234 567 - A1 - 2 kg": ({"A1": 2}, PHONE),
    "02623812345 chốt a1": ({"A1": 1}, "02623812345"),
    "2 A1 3 B3": ({"A1": 2, "B3": 3}, None),
    "A1 2 B3 3": ({"A1": 2, "B3": 3}, None),
    "A1 x2, B3 x3 0901234567": ({"A1": 2, "B3": 3}, PHONE),
    "a1 2kg và b3 1kg giao giùm 0901234567": ({"A1": 2, "B3": 1}, PHONE),
    "chốt A1": ({"A1": 1}, None),
    "chot a1 nha": ({"A1": 1}, None),
    "chốt đơn a1": ({"A1": 1}, None),
    "cho em hai thùng A2 nha": ({"A2": 2}, None),
    "cho chị mười ký a1": ({"A1": 10}, None),
    "lấy 2 ký sầu riêng A1": ({"A1": 2}, None),
    "lay 2 ky sau rieng a1": ({"A1": 2}, None),
    "mua A1 2 trái": ({"A1": 2}, None),
    "đặt 5 hộp b1": ({"B1": 5}, None),
    "dat 5 hop b1": ({"B1": 5}, None),
    "A1x2": ({"A1": 2}, None),
    "a1*2": ({"A1": 2}, None),
    "a1 × 2": ({"A1": 2}, None),
    "A1-2kg": ({"A1": 2}, None),
    "x2 A1": ({"A1": 2}, None),
    "2x A1": ({"A1": 2}, None),
    "A1 sl 3": ({"A1": 3}, None),
    "A1 số lượng: 3": ({"A1": 3}, None),
    "mã số A1 2 kg": ({"A1": 2}, None),
    "mã a 1 2 kg": ({"A1": 2}, None),
    "A-1 x 4": ({"A1": 4}, None),
    "a10 x3": ({"A10": 3}, None),
    "A1O x3": ({"A10": 3}, None),
    "Ａ１ ｘ２": ({"A1": 2}, None),
    "A1 50k/kg x 3": ({"A1": 3}, None),
    "A1 185.000đ lấy 2": ({"A1": 2}, None),
    "A1 giảm 10% lấy 2kg": ({"A1": 2}, None),
    "A1 x2 A1 x2": ({"A1": 2}, None),
    "A1, A2, B1 mỗi loại 2kg": ({"A1": 2, "A2": 2, "B1": 2}, None),
    "A1 lấy thêm 1kg": ({"A1": 1}, None),
    "<b>A1 x2</b>": ({"A1": 2}, None),
    "A1 x2 !!!!! ❤️❤️": ({"A1": 2}, None),
    "cho 3 A1 nhe": ({"A1": 3}, None),
    "chốt a1 lúc 8h": ({"A1": 1}, None),
}

# text -> the doubt that must be there
UNSURE = {
    "A1": Doubt.NO_QUANTITY,
    "A1 đẹp quá": Doubt.NO_QUANTITY,
    "A1 x0": Doubt.NO_QUANTITY,
    "A1 x99999": Doubt.NO_QUANTITY,
    "chot A1 ship ve 12 Tran Phu 0905123456": Doubt.NO_QUANTITY,
    "A1 bao nhiêu?": Doubt.QUESTION,
    "a1 gia sao shop": Doubt.QUESTION,
    "A1 x2 còn không": Doubt.QUESTION,
    "hủy A1": Doubt.REFUSAL,
    "không lấy A1 nữa": Doubt.REFUSAL,
    "A1 1.5kg": Doubt.FRACTION,
    "A1 2kg5": Doubt.FRACTION,
    "nửa ký A1": Doubt.FRACTION,
    "a1 2 kg rưỡi": Doubt.FRACTION,
    "A1 x 2 x 3": Doubt.SEVERAL_QUANTITIES,
    "A1 x2 A1 x3": Doubt.REPEATED_CODE,
    "a 1 0901234567": Doubt.LOOSE_CODE,
    "A1 x2 0901234567 0912345678": Doubt.SEVERAL_PHONES,
    "chốt A9 x2": Doubt.UNKNOWN_CODE,
    "A1 x2 C7 x1": Doubt.UNKNOWN_CODE,
}

NOTHING = [
    "",
    "chào cả nhà",
    "sầu riêng ngon quá",
    "giá 100k",
    "2k",
    "8h có live không",
    "anh 2 kg",
    "x2",
    "1234567890123456789012345",
    "số tài khoản 1012345678901",
    "❤️❤️❤️",
    "ship về Đà Nẵng được không",
]


@pytest.mark.parametrize("text", SURE)
def test_orders_are_read(text: str) -> None:
    found = read(text, CODES)
    assert found is not None
    lines, phone = SURE[text]
    assert ({line.code: line.quantity for line in found.lines}, found.phone) == (lines, phone)
    assert (found.sure, found.doubts) == (True, [])


@pytest.mark.parametrize("text", UNSURE)
def test_what_is_not_clear_says_why(text: str) -> None:
    found = read(text, CODES)
    assert found is not None
    assert not found.sure
    assert UNSURE[text] in found.doubts


@pytest.mark.parametrize("text", NOTHING)
def test_talk_is_no_order(text: str) -> None:
    assert read(text, CODES) is None


def test_a_phone_alone_is_kept_for_the_order_before_it() -> None:
    assert read("sđt em 0901234567", CODES) == Reading(phone=PHONE)


def joined(*texts: str) -> Reading:
    found = join(reading for text in texts if (reading := read(text, CODES)) is not None)
    assert found is not None
    return found


def test_one_buyers_comments_are_one_order() -> None:
    found = joined("chào shop", "A1 x2", "0901234567", "b3 1kg")
    assert {line.code: line.quantity for line in found.lines} == {"A1": 2, "B3": 1}
    assert (found.phone, found.sure) == (PHONE, True)


def test_the_same_comment_twice_counts_once() -> None:
    found = joined("A1 x2 0901234567", "A1 x2 0901234567")
    assert [(line.code, line.quantity) for line in found.lines] == [("A1", 2)]
    assert found.sure


def test_more_adds_and_another_quantity_replaces_with_a_doubt() -> None:
    assert [line.quantity for line in joined("A1 x2", "lấy thêm A1 x1", PHONE).lines] == [3]
    changed = joined("A1 x2 0901234567", "A1 x5")
    assert [line.quantity for line in changed.lines] == [5]
    assert (changed.sure, changed.doubts) == (False, [Doubt.CHANGED])


def test_a_refusal_takes_everything_back() -> None:
    found = joined("A1 x2 0901234567", "hủy a1 nha shop")
    assert (found.lines, found.sure) == ([], False)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=500))
def test_whatever_is_typed_is_read_without_a_fault(text: str) -> None:
    found = read(text, CODES)
    if found is not None:
        assert {line.code for line in found.lines} <= CODES
        assert all(0 < line.quantity <= 9_999 for line in found.lines)
        assert not (found.sure and found.doubts)


def test_hostile_runs_of_digits_and_signs_are_read_quickly() -> None:
    chance = random.Random(7)
    began = time.perf_counter()
    for alphabet in ("0 .-()", "0o9", "a1 x", "a" * 5 + "1", string.digits + " .-", "kg kg5 1,"):
        for _ in range(40):
            read("".join(chance.choice(alphabet) for _ in range(500)), CODES)
    assert time.perf_counter() - began < 3


def test_units_are_compared_with_what_is_sold() -> None:
    units = {"A1": "kg", "B1": "box"}
    boxes = read("lấy 2 thùng A1", units)
    assert boxes is not None
    assert (boxes.sure, boxes.doubts) == (False, [Doubt.UNIT])
    tonnes = read("chốt 1 tấn A1 0901234567", units)
    assert tonnes is not None
    assert (tonnes.sure, tonnes.doubts) == (False, [Doubt.WHOLESALE])
    hundreds = read("chốt 2 tạ A1", units)
    assert hundreds is not None
    assert (hundreds.lines[0].quantity, hundreds.sure) == (200, True)


def test_a_question_before_an_order_does_not_spoil_it() -> None:
    found = joined("A1 bao nhiêu?", "A1", "A1 x2 0901234567")
    assert [(line.code, line.quantity) for line in found.lines] == [("A1", 2)]
    assert found.sure


def test_the_corpus_is_read_as_people_would() -> None:
    """A sure reading is right; hardly a clear order needs more than one key; nothing unclear is sure."""
    found = comments_report.measure()
    assert found.comments >= 300
    assert found.precision >= 0.99, found.wrong
    assert found.recall >= 0.95, found.missed
    assert found.found >= 0.98
