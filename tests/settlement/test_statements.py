"""Each month's books agree with the orders, to the dong, whatever happened and whenever."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine, Iterator
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import MarketError
from commerce.core.money import Money
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.fulfilment import service as fulfilment
from commerce.orders import service
from commerce.orders.desk import desk
from commerce.orders.expiry import expire_orders
from commerce.orders.queries import snapshots
from commerce.orders.selling import pack_order
from commerce.payments import notices, queries, receiving, refunds
from commerce.payments.receiving import Credit
from commerce.settlement.queries import Month, statements
from tests.orders.market import PRICE, Market, change, one, open_market, order_request

T = TypeVar("T")
OFFICE = Identity(1, 1, "Cán bộ", "0900000003", frozenset({(Role.OFFICER, "24505")}))
FRESH = datetime(2026, 10, 1, tzinfo=clock.VIETNAM)
"""Rows dated later were written just now; the story then dates them by its own calendar, which is earlier."""
RATES = [(date(2026, 1, 1), "vat", 100), (date(2026, 1, 1), "pit", 50), (date(2026, 3, 1), "vat", 125)]
_numbers = itertools.count(1)

DATED = {
    '"order"': "placed_at",
    "order_history": "at",
    "refund_history": "at",
    "receipt": "at",
    "tax_entry": "at",
}


class Books(RuleBasedStateMachine):
    """A market over some months, a step a few days, across month ends and a change of rates.

    Beside it runs an account kept by hand: what each step must do to each month's sums.
    """

    runner: ClassVar[asyncio.Runner]
    settings: ClassVar[Settings]
    patch: ClassVar[pytest.MonkeyPatch]
    market: Market
    orders: Bundle[tuple[str, str, int]] = Bundle("orders")

    def do(self, work: Coroutine[Any, Any, T]) -> T | None:
        async def tried() -> T | None:
            try:
                return await work
            except MarketError:
                return None

        found = self.runner.run(tried())
        self.runner.run(self.date_rows())
        self.at += timedelta(microseconds=1)  # no two steps share a moment, as they never do
        return found

    async def date_rows(self) -> None:
        for table, column in DATED.items():
            await change(
                f"UPDATE {table} SET {column} = :at WHERE {column} > :fresh", at=self.at, fresh=FRESH
            )

    @initialize(start=st.integers(0, 27))
    def open(self, start: int) -> None:
        async def fresh() -> Market:
            snapshots.forget()
            await change(
                "TRUNCATE live_session, seller, purchase, person, receipt, webhook_event, tax_rate CASCADE"
            )
            market = await open_market(A1=60, A2=30)
            await change("UPDATE seller SET kind = 'household'")
            for valid_from, tax, points in RATES:
                await change(
                    "INSERT INTO tax_rate (tax, seller_kind, basis_points, valid_from)"
                    " VALUES (:tax, 'household', :points, :day)",
                    tax=tax,
                    points=points,
                    day=valid_from,
                )
            return market

        self.market = self.runner.run(fresh())
        self.at = datetime(2026, 1, 2, 12, tzinfo=clock.VIETNAM) + timedelta(days=start)
        self.patch.setattr(clock, "today", lambda: self.at.date())
        self.delivered: dict[str, date] = {}
        self.over: dict[str, Counter[str]] = {}
        """Sums of months that are over: they never change."""

    @rule(days=st.sampled_from([1, 3, 10, 20]))
    def days_go_by(self, days: int) -> None:
        self.at += timedelta(days=days)

    @rule(
        target=orders,
        a1=st.integers(1, 3),
        a2=st.integers(0, 2),
        payment=st.sampled_from(["cod", "vietqr", "vietqr"]),
        paid=st.booleans(),
    )
    def order(self, a1: int, a2: int, payment: str, paid: bool) -> Any:
        lines = {code: quantity for code, quantity in (("A1", a1), ("A2", a2)) if quantity}
        answer = self.do(
            service.place_order(
                self.settings,
                "EAKNUEC",
                order_request(payment=payment, **lines),
                idempotency_key=f"b{next(_numbers)}",
            )
        )
        made = [(o.code, o.key, o.total) for o in answer.orders] if answer else []
        for one_order in made:
            if paid and payment == "vietqr":
                self.pay(one_order, 2)
        return multiple(*made)

    @rule(order=orders, share=st.sampled_from([1, 2, 2, 2, 3]))
    def pay_some(self, order: tuple[str, str, int], share: int) -> None:
        self.pay(order, share)

    def pay(self, order: tuple[str, str, int], share: int) -> None:
        credit = Credit("sepay", str(next(_numbers)), order[2] * share // 2, memo=f"ck {order[0]}")
        self.do(notices.apply_once(credit, self.market.goods["A1"].seller_id, {}))

    @rule(order=orders)
    def tick_by_hand(self, order: tuple[str, str, int]) -> None:
        self.do(receiving.receive_by_hand(OFFICE, order[0]))

    @rule(order=orders)
    def deliver(self, order: tuple[str, str, int]) -> None:
        self.do(pack_order(OFFICE, order[0]))
        self.do(fulfilment.send(OFFICE, order[0]))
        self.do(fulfilment.delivered(OFFICE, order[0]))
        state = self.runner.run(one('SELECT state FROM "order" WHERE code = :c', c=order[0]))
        if state == "delivered":
            self.delivered.setdefault(order[0], self.at.date())

    @rule(order=orders)
    def refuse(self, order: tuple[str, str, int]) -> None:
        self.do(pack_order(OFFICE, order[0]))
        self.do(fulfilment.send(OFFICE, order[0]))
        self.do(fulfilment.refused(OFFICE, order[0], "thử"))

    @rule(order=orders, sent=st.booleans())
    def cancel(self, order: tuple[str, str, int], sent: bool) -> None:
        self.do(fulfilment.cancel(OFFICE, order[0], "thử"))
        if sent:
            self.send_back()

    @rule(order=orders)
    def time_is_up(self, order: tuple[str, str, int]) -> None:
        past = (
            "UPDATE \"order\" SET expires_at = now() - interval '1 s' WHERE code = :c AND expires_at > now()"
        )
        self.runner.run(change(past, c=order[0]))
        self.do(expire_orders())

    @rule(order=orders, amount=st.sampled_from([1, 33_333, PRICE, 3 * PRICE]), sent=st.booleans())
    def refund(self, order: tuple[str, str, int], amount: int, sent: bool) -> None:
        self.do(refunds.refund_order(OFFICE, order[0], amount, "thử"))
        if sent:
            self.send_back()

    @rule()
    def send_refunds_back(self) -> None:
        self.send_back()

    def send_back(self) -> None:
        for row in self.runner.run(queries.open_refunds(OFFICE)):
            self.do(refunds.finish_by_hand(OFFICE, row.id, "FT"))

    # ---- what must hold

    def months(self) -> dict[str, Counter[str]]:
        """Every month's sums, of the one seller, as the statements say."""

        async def read() -> dict[str, Counter[str]]:
            found = {}
            month = Month(date(2026, 1, 1))
            async with sessions.read() as db:
                while month.first <= self.at.date():
                    sums: Counter[str] = Counter()
                    for statement in (await statements(db, month)).values():
                        sums.update(statement.sums)
                    found[str(month)] = sums
                    month = month.next
            return found

        return self.runner.run(read())

    @invariant()
    def books_are_right(self) -> None:
        months = self.months()
        self.add_up_to_the_orders(months)
        self.tax_is_the_rate_of_the_day_on_what_was_kept(months)
        for month, sums in self.over.items():
            assert months[month] == sums, f"{month} was over and has changed"
        self.over |= {month: sums for month, sums in months.items() if month < f"{self.at:%Y-%m}"}

    def add_up_to_the_orders(self, months: dict[str, Counter[str]]) -> None:
        sums: Counter[str] = Counter()
        for month in months.values():
            sums.update(month)
        worth = self.runner.run(
            one("""SELECT coalesce(sum(CASE WHEN o.state IN ('cancelled', 'expired', 'refused') THEN 0
                ELSE o.total - p.refunded END), 0)::bigint
                FROM "order" o JOIN payment p ON p.order_id = o.id""")
        )
        assert sums["sold"] + sums["cancelled"] + sums["refunded"] == worth, "what orders are worth"
        held = self.runner.run(one("SELECT coalesce(sum(paid - refunded), 0)::bigint FROM payment"))
        paid = sum(amount for kind, amount in sums.items() if kind.startswith("paid "))
        assert paid + sums["back"] == held, "what sellers hold of what was paid"

    def tax_is_the_rate_of_the_day_on_what_was_kept(self, months: dict[str, Counter[str]]) -> None:
        for tax in ("vat", "pit"):
            expected = 0
            for code, day in self.delivered.items():
                points = [p for valid_from, name, p in RATES if name == tax and valid_from <= day][-1]
                expected += sum(Money(base).share(points).amount for base in self.bases(code))
            sums = sum(month[f"tax {tax}"] for month in months.values())
            assert sums == expected, tax

    def bases(self, code: str) -> list[int]:
        async def read() -> list[int]:
            amounts = await one(
                """SELECT array_agg(l.amount ORDER BY l.id) FROM order_line l JOIN "order" o
                ON o.id = l.order_id WHERE o.code = :c""",
                c=code,
            )
            back = await one(
                'SELECT p.refunded FROM payment p JOIN "order" o ON o.id = p.order_id WHERE o.code = :c',
                c=code,
            )
            parts = Money(back).split(amounts)
            return [amount - part.amount for amount, part in zip(amounts, parts, strict=True)]

        return self.runner.run(read())


@pytest.fixture
def machine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Books]]:
    with asyncio.Runner() as runner:
        sessions.configure(settings.database_url)
        Books.runner, Books.settings, Books.patch = runner, settings, monkeypatch
        yield Books

        async def end() -> None:
            await desk.close()
            snapshots.forget()
            await sessions.close()

        runner.run(end())


def test_books_of_any_history_agree_with_the_orders(machine: type[Books]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )
