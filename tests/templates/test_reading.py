"""Plain words: sentences a newspaper reader takes in at once, native habits for money, numbers and days."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from statistics import mean

import pytest

from commerce.core import html
from commerce.core.i18n import current_language
from commerce.core.money import Money, format_money
from templates import words

# Syllables: Vietnamese writes them apart. Newspapers keep to about 25 a sentence; ours are read in the sun.
LONGEST = 32
USUAL = 13

FOREIGN = re.compile(
    r"\b(click|email|login|online|website|app|upload|download|server|token|error|user|session|livestream|"
    r"order|shop|checkout|feedback|update|dashboard|admin|comment|like|share|follow)\b",
    re.IGNORECASE,
)
# Where the foreign word is what stands on the other screen, or the name of a thing for programmers.
QUOTED = {
    "Xin dán khoá phát (stream key), chép từ trang phát trực tiếp của kênh đó.",
    "Đơn hàng và lịch sử của đơn (bảng order, order_line, payment).",
}


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    keys = [message.id if isinstance(message.id, str) else message.id[0] for message in words.extract()]
    return [str(key) for key in keys if key]


def parts(text: str) -> list[str]:
    return [part for part in re.split(r"[.!?:;…](?:\s|$)|\n", text) if part.strip()]


def test_sentences_are_short(sentences: list[str]) -> None:
    lengths = {part: len(part.split()) for text in sentences for part in parts(text)}
    assert not {part: n for part, n in lengths.items() if n > LONGEST}
    assert mean(lengths.values()) <= USUAL


def test_words_are_vietnamese(sentences: list[str]) -> None:
    plain = {text: re.sub(r"\{[^}]*\}", "", text) for text in sentences}
    foreign = {text for text, said in plain.items() if FOREIGN.search(said)}
    assert not foreign - QUOTED


@pytest.mark.parametrize(
    ("language", "number", "moment"),
    [("vi", "1.234.567", "19:30, Thứ Hai 25/08"), ("en", "1,234,567", "19:30, Monday 25/08")],
)
def test_numbers_and_moments_by_the_readers_habits(language: str, number: str, moment: str) -> None:
    chosen = current_language.set(language)
    try:
        at = datetime(2025, 8, 25, 12, 30, tzinfo=UTC)
        assert html.number(1_234_567) == number
        assert html.moment(at) == moment
        assert html.day(datetime(2025, 8, 24, 18, 0, tzinfo=UTC)) == "25/08/2025"  # already the next day here
        assert html.money(185_000) == "185.000\u00a0₫"
        assert html.quantity(2, "kg") == "2 kg"
    finally:
        current_language.reset(chosen)


def test_money_is_written_one_way() -> None:
    assert format_money(Money(0)) == "0\u00a0₫"
    assert format_money(Money(-1_500)) == "-1.500\u00a0₫"
