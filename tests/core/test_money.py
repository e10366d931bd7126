"""Money: whole dong, no mixing, nothing lost when split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce.core.money import CurrencyMismatch, Money, format_money


def test_adding_two_currencies_raises() -> None:
    with pytest.raises(CurrencyMismatch):
        Money(1, "VND") + Money(1, "USD")


@pytest.mark.parametrize("amount", [1.5, True, "1"])
def test_only_whole_numbers_are_money(amount: object) -> None:
    with pytest.raises(TypeError):
        Money(amount)  # type: ignore[arg-type]


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 1000), min_size=1).filter(any))
def test_parts_sum_to_the_whole(amount: int, weights: list[int]) -> None:
    parts = Money(amount).split(weights)
    assert sum(part.amount for part in parts) == amount
    assert all(part.amount == 0 for part, weight in zip(parts, weights, strict=True) if weight == 0)


@given(st.integers(-(10**12), 10**12), st.integers(0, 10_000))
def test_a_share_is_right_to_half_a_dong_and_symmetric(amount: int, points: int) -> None:
    share = Money(amount).share(points).amount
    assert abs(share * 10_000 - amount * points) <= 5_000
    assert Money(-amount).share(points).amount == -share


def test_written_as_vietnamese_read_it() -> None:
    assert format_money(Money(185_000)) == "185.000\u00a0₫"
    assert format_money(Money(-1_250_000)) == "-1.250.000\u00a0₫"
    assert format_money(Money(1999, "USD")) == "19,99\u00a0US$"
