"""Money is a type: whole minor units and a currency, never a float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Digits after the point. VND has none: 185000 is 185.000 ₫, also in Stripe's API.
DECIMALS = {"VND": 0, "USD": 2}


class CurrencyMismatch(ValueError):
    """Two amounts of different currencies were put together."""


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """`amount` in whole minor units of `currency` (dong for VND)."""

    amount: int
    currency: str = "VND"

    def __post_init__(self) -> None:
        if isinstance(self.amount, bool) or not isinstance(self.amount, int):
            raise TypeError("an amount of money is a whole number of minor units")
        if self.currency not in DECIMALS:
            raise ValueError(f"unknown currency {self.currency!r}")

    def _same(self, other: Money) -> Money:
        if self.currency != other.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency}")
        return other

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other).amount, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __mul__(self, quantity: int) -> Money:
        if isinstance(quantity, bool) or not isinstance(quantity, int):
            raise TypeError("money is multiplied by whole quantities; use `share` for rates")
        return Money(self.amount * quantity, self.currency)

    __rmul__ = __mul__

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other).amount

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other).amount

    def __bool__(self) -> bool:
        return self.amount != 0

    def share(self, basis_points: int) -> Money:
        """This part of the amount (10_000 = the whole), rounded half away from zero.

        Rates are whole basis points so that no float is ever near money.
        """
        product = abs(self.amount) * basis_points
        rounded = (product + 5_000) // 10_000
        return Money(rounded if self.amount >= 0 else -rounded, self.currency)

    def split(self, weights: Iterable[int]) -> list[Money]:
        """Parts in proportion to `weights` that sum to the whole, the remainders to the largest fractions.

        Raises ValueError without a positive weight.
        """
        parts = list(weights)
        whole = sum(parts)
        if whole <= 0 or min(parts) < 0:
            raise ValueError("weights must be zero or more and not all zero")
        shares = [self.amount * weight // whole for weight in parts]
        left = self.amount - sum(shares)
        by_remainder = sorted(range(len(parts)), key=lambda i: (-(self.amount * parts[i] % whole), i))
        for i in by_remainder[:left]:
            shares[i] += 1
        return [Money(share, self.currency) for share in shares]

    def __str__(self) -> str:
        return format_money(self)


SYMBOL = {"VND": "₫", "USD": "US$"}


def format_money(money: Money) -> str:
    """As Vietnamese read it: `185.000 ₫` (a no-break space before the sign)."""
    decimals = DECIMALS[money.currency]
    whole, rest = divmod(abs(money.amount), 10**decimals)
    text = f"{whole:,}".replace(",", ".")
    if decimals:
        text += f",{rest:0{decimals}d}"
    sign = "-" if money.amount < 0 else ""
    return f"{sign}{text}\u00a0{SYMBOL[money.currency]}"
