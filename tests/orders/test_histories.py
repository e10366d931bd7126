"""Any history of orders, payments, cancellations, expiries and refunds leaves the books in order.

Hypothesis writes the histories; after every step the invariants are read from PostgreSQL.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
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
from sqlalchemy import select

from commerce.core.db import sessions
from commerce.core.errors import MarketError
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.fulfilment import service as fulfilment
from commerce.orders import service
from commerce.orders.desk import desk
from commerce.orders.errors import TotalChanged
from commerce.orders.expiry import expire_orders
from commerce.orders.queries import snapshots
from commerce.orders.selling import pack_order
from commerce.orders.wire import PurchaseAnswer
from commerce.payments import cards, notices, queries, receiving, refunds
from commerce.payments.models import Refund
from commerce.payments.receiving import Credit
from commerce.settlement.queries import Month, statements
from tests.orders.market import (
    PRICE,
    Market,
    add_deal,
    change,
    ledger_is_right,
    one,
    open_market,
    order_request,
)

T = TypeVar("T")
DUE_NOW = """
    SELECT p.advance - p.paid FROM payment p JOIN "order" o ON o.id = p.order_id
    WHERE o.code = :c AND p.state IN ('due', 'partial') AND p.advance > p.paid
"""
WORTH = """
    SELECT coalesce(sum(CASE WHEN o.state IN ('cancelled', 'expired', 'refused') THEN 0
        ELSE o.total - p.refunded END), 0)::bigint FROM "order" o JOIN payment p ON p.order_id = o.id
"""
HELD = "SELECT coalesce(sum(paid - refunded), 0)::bigint FROM payment"
OFFICE = Identity(1, 1, "Cán bộ", "0900000003", frozenset({(Role.OFFICER, "24505")}))
_numbers = itertools.count(1)

# Each is a sentence that must be true, as a query that finds what contradicts it.
INVARIANTS = {
    "stock is never negative and never promised twice": (
        "SELECT count(*) FROM stock WHERE reserved < 0 OR reserved > on_hand"
    ),
    "what is promised is what open orders hold": """
        SELECT count(*) FROM (
            SELECT s.grade_id, s.reserved, coalesce(sum(l.quantity), 0) AS held FROM stock s
            LEFT JOIN (SELECT l.* FROM order_line l JOIN "order" o ON o.id = l.order_id
                WHERE o.state IN ('placed', 'confirmed', 'packed')) l USING (grade_id)
            GROUP BY s.grade_id, s.reserved) x WHERE reserved <> held
    """,
    "paid is never above the total": """
        SELECT count(*) FROM payment p JOIN "order" o ON o.id = p.order_id WHERE p.paid > o.total
    """,
    "what was counted is what was paid": """
        SELECT count(*) FROM payment p WHERE p.paid <> coalesce(
            (SELECT sum(counted) FROM receipt r WHERE r.payment_id = p.id), 0)
    """,
    "refunds are never above what was paid": """
        SELECT count(*) FROM payment p WHERE p.paid < coalesce(
            (SELECT sum(amount) FROM refund r WHERE r.payment_id = p.id AND NOT of_excess), 0)
    """,
    "all money of a closed order is back or wanted back": """
        SELECT count(*) FROM payment p JOIN "order" o ON o.id = p.order_id
        WHERE o.state IN ('cancelled', 'expired', 'refused') AND p.paid <> coalesce(
            (SELECT sum(amount) FROM refund r WHERE r.payment_id = p.id AND NOT of_excess), 0)
    """,
    "every dong that came is counted, wanted back, proves a tick by hand, or is unmatched": """
        SELECT count(*) FROM receipt r WHERE outcome NOT IN ('unmatched', 'settled', 'returned')
            AND confirms IS NULL AND amount <> counted
            + coalesce((SELECT sum(amount) FROM refund f WHERE f.receipt_id = r.id AND of_excess), 0)
    """,
    "what goes back comes from what came: no receipt gives back more than it counted": """
        SELECT count(*) FROM receipt r WHERE counted < coalesce(
            (SELECT sum(amount) FROM refund f WHERE f.receipt_id = r.id AND NOT of_excess), 0)
    """,
    "what is said to be back is what was sent back": """
        SELECT count(*) FROM payment p WHERE refunded <> coalesce((SELECT sum(amount) FROM refund r
            WHERE r.payment_id = p.id AND NOT of_excess AND state = 'done'), 0)
    """,
    "nothing leaves before what was asked for in advance has come": """
        SELECT count(*) FROM payment p JOIN "order" o ON o.id = p.order_id
        WHERE o.state IN ('shipped', 'delivered') AND p.paid < p.advance
    """,
    "goods wait with a time limit only for money that has not come": """
        SELECT count(*) FROM payment p JOIN "order" o ON o.id = p.order_id
        WHERE o.expires_at IS NOT NULL AND p.paid >= p.advance
    """,
    "an order is what its lines say": """
        SELECT count(*) FROM "order" o WHERE total <>
            (SELECT sum(amount) FROM order_line l WHERE l.order_id = o.id)
    """,
    "what is promised of a day is what its orders hold": """
        SELECT count(*) FROM packing_day d FULL JOIN (
            SELECT g.product_id, o.ship_on AS day, sum(l.quantity) AS units FROM "order" o
            JOIN order_line l ON l.order_id = o.id JOIN grade g ON g.id = l.grade_id
            WHERE o.ship_on IS NOT NULL GROUP BY 1, 2) x ON x.product_id = d.product_id AND x.day = d.day
        WHERE coalesce(d.units, 0) <> coalesce(x.units, 0)
    """,
    "no day is promised past its hands": """
        SELECT count(*) FROM packing_day d JOIN product p ON p.id = d.product_id
        WHERE d.units > p.capacity_per_day
    """,
    "a deal gave what its orders hold": """
        SELECT count(*) FROM deal d WHERE taken <> coalesce((SELECT sum(l.quantity) FROM order_line l
            JOIN "order" o ON o.id = l.order_id
            WHERE l.deal_id = d.id AND o.state NOT IN ('cancelled', 'expired')), 0)
    """,
    "nobody has more of a deal than one may": """
        SELECT count(*) FROM (SELECT d.per_buyer, sum(l.quantity) AS units FROM deal d
            JOIN order_line l ON l.deal_id = d.id JOIN "order" o ON o.id = l.order_id
            WHERE o.state NOT IN ('cancelled', 'expired')
            GROUP BY d.id, d.per_buyer, o.buyer_phone) x WHERE units > per_buyer
    """,
    "history ends where the order is": """
        SELECT count(*) FROM "order" o WHERE state <>
            (SELECT after FROM order_history h WHERE h.subject_id = o.id ORDER BY id DESC LIMIT 1)
    """,
}


class Histories(RuleBasedStateMachine):
    runner: ClassVar[asyncio.Runner]
    settings: ClassVar[Settings]
    market: Market
    began: Month
    orders: Bundle[tuple[str, str, int]] = Bundle("orders")

    def do(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The answer, or None for a refusal, which must have changed nothing the invariants see."""

        async def tried() -> T | None:
            try:
                return await work
            except MarketError:
                return None

        return self.runner.run(tried())

    @initialize()
    def open(self) -> None:
        async def fresh() -> Market:
            snapshots.forget()
            await change("TRUNCATE live_session, seller, purchase, person, receipt, webhook_event CASCADE")
            market = await open_market(A1=6, A2=3)
            product = market.goods["A1"].product_id
            await change("UPDATE product SET capacity_per_day = 3 WHERE id = :p", p=product)
            seller = market.goods["A1"].seller_id
            await change("INSERT INTO card_account (seller_id, account) VALUES (:s, 'acct_1')", s=seller)
            return market

        self.market = self.runner.run(fresh())
        self.began = Month.parse("")

    @rule(
        target=orders,
        a1=st.integers(0, 3),
        a2=st.integers(0, 2),
        payment=st.sampled_from(["cod", "vietqr", "card"]),
    )
    def order(self, a1: int, a2: int, payment: str) -> Any:
        """At the price that holds: what a deal makes cheaper is confirmed at its price."""
        asked = order_request(
            payment=payment,
            **{code: quantity for code, quantity in (("A1", a1), ("A2", a2)) if quantity},
        )

        async def confirmed() -> PurchaseAnswer:
            key = f"k{next(_numbers)}"
            try:
                return await service.place_order(self.settings, "EAKNUEC", asked, idempotency_key=key)
            except TotalChanged as changed:
                asked.shown_total = changed.total
                return await service.place_order(self.settings, "EAKNUEC", asked, idempotency_key=key)

        answer = self.do(confirmed())
        return multiple(*((o.code, o.key, o.total) for o in answer.orders)) if answer else multiple()

    @rule(quantity=st.integers(1, 3), per_buyer=st.sampled_from([None, 2]))
    def open_a_deal(self, quantity: int, per_buyer: int | None) -> None:
        goods = self.market.goods["A1"]
        self.runner.run(change("UPDATE deal SET stopped_at = now() WHERE stopped_at IS NULL"))
        session = self.market.session_id
        self.runner.run(
            add_deal(goods.item_id, session, price=100_000, quantity=quantity, per_buyer=per_buyer)
        )

    @rule(order=orders, share=st.sampled_from([1, 2, 2, 3]), copies=st.integers(1, 2))
    def pay(self, order: tuple[str, str, int], share: int, copies: int) -> None:
        """Half, all, or half too much of the price comes, told once or twice."""
        credit = Credit("sepay", str(next(_numbers)), order[2] * share // 2, memo=f"ck {order[0]}")
        for _ in range(copies):
            self.do(notices.apply_once(credit, self.market.goods["A1"].seller_id, {}))

    @rule(percent=st.sampled_from([0, 30]), fee=st.sampled_from([0, 20_000]))
    def ask_for_a_deposit(self, percent: int, fee: int) -> None:
        """Of orders that come from now on."""
        self.runner.run(change("UPDATE seller SET deposit_percent = :p, deposit_fee = :f", p=percent, f=fee))
        self.runner.run(change("UPDATE product SET fresh = true"))
        snapshots.forget()

    @rule(order=orders, intent=st.integers(1, 2), copies=st.integers(1, 2))
    def pay_by_card(self, order: tuple[str, str, int], intent: int, copies: int) -> None:
        """What the card company tells of a paid checkout, once or twice; there may be two of them."""
        told = {
            "payment_status": "paid",
            "client_reference_id": order[0],
            "payment_intent": f"pi_{order[0]}_{intent}",
            "amount_total": order[2],
            "currency": "vnd",
        }
        for _ in range(copies):
            self.do(cards.apply_session(told, "acct_1"))

    @rule(status=st.sampled_from(["pending", "succeeded", "failed"]))
    def the_card_company_tells_of_refunds(self, status: str) -> None:
        """In whatever order, of refunds in whatever state."""

        async def told() -> None:
            async with sessions.begin() as db:
                for number in (await db.scalars(select(Refund.id))).all():
                    about = {"id": f"re_{number}", "status": status, "metadata": {"refund": str(number)}}
                    await cards.note_refund(db, about, "acct_1")

        self.do(told())

    @rule(order=orders)
    def pay_what_is_due_now(self, order: tuple[str, str, int]) -> None:
        due = self.runner.run(one(DUE_NOW, c=order[0]))
        if due:
            credit = Credit("sepay", str(next(_numbers)), due, memo=order[0])
            self.do(notices.apply_once(credit, self.market.goods["A1"].seller_id, {}))

    @rule(amount=st.just(PRICE))
    def pay_for_nothing(self, amount: int) -> None:
        credit = Credit("sepay", str(next(_numbers)), amount, memo="tien")
        self.do(notices.apply_once(credit, self.market.goods["A1"].seller_id, {}))

    @rule(order=orders)
    def tick_by_hand(self, order: tuple[str, str, int]) -> None:
        self.do(receiving.receive_by_hand(OFFICE, order[0]))

    @rule(order=orders)
    def cancel(self, order: tuple[str, str, int]) -> None:
        self.do(service.cancel_order(order[0], order[1], "", public_url=""))

    @rule(order=orders)
    def time_is_up(self, order: tuple[str, str, int]) -> None:
        past = (
            "UPDATE \"order\" SET expires_at = now() - interval '1 s' WHERE code = :c AND expires_at > now()"
        )
        self.runner.run(change(past, c=order[0]))
        self.runner.run(expire_orders())

    @rule(order=orders, amount=st.sampled_from([1, PRICE, 3 * PRICE]))
    def refund(self, order: tuple[str, str, int], amount: int) -> None:
        self.do(refunds.refund_order(OFFICE, order[0], amount, "thử"))

    @rule(order=orders)
    def pack_and_send(self, order: tuple[str, str, int]) -> None:
        self.do(pack_order(OFFICE, order[0]))
        self.do(fulfilment.send(OFFICE, order[0]))

    @rule(order=orders)
    def deliver(self, order: tuple[str, str, int]) -> None:
        self.do(fulfilment.delivered(OFFICE, order[0]))

    @rule(order=orders, sellable=st.booleans())
    def refuse_and_return(self, order: tuple[str, str, int], sellable: bool) -> None:
        self.do(fulfilment.refused(OFFICE, order[0], "thử"))
        self.do(fulfilment.returned(OFFICE, order[0], sellable=sellable))

    @rule(order=orders)
    def seller_cancels(self, order: tuple[str, str, int]) -> None:
        self.do(fulfilment.cancel(OFFICE, order[0], "thử"))

    @rule()
    def send_refunds_back(self) -> None:
        for row in self.runner.run(queries.open_refunds(OFFICE)):
            self.do(refunds.finish_by_hand(OFFICE, row.id, "FT"))

    @rule(order=orders)
    def settle_unmatched(self, order: tuple[str, str, int]) -> None:
        for row in self.runner.run(queries.unmatched(OFFICE))[:1]:
            self.do(receiving.settle_unmatched(OFFICE, row.id, code=order[0]))

    @rule(returned=st.booleans())
    def none_of_ours(self, returned: bool) -> None:
        for row in self.runner.run(queries.unmatched(OFFICE))[:1]:
            self.do(receiving.settle_unmatched(OFFICE, row.id, note="FT", returned=returned))

    @invariant()
    def books_are_in_order(self) -> None:
        for sentence, contradiction in INVARIANTS.items():
            assert self.runner.run(one(contradiction)) == 0, sentence
        assert self.runner.run(ledger_is_right()), "the ledger explains the balance"
        self.runner.run(self.settled())

    async def settled(self) -> None:
        """The months' books are the orders', to the dong."""
        sums: Counter[str] = Counter()
        async with sessions.read() as db:
            for month in {str(self.began): self.began, str(Month.parse("")): Month.parse("")}.values():
                for statement in (await statements(db, month)).values():
                    sums.update(statement.sums)
        assert sums["sold"] + sums["cancelled"] + sums["refunded"] == await one(WORTH), (
            "what orders are worth"
        )
        paid = sum(amount for kind, amount in sums.items() if kind.startswith("paid "))
        assert paid + sums["back"] == await one(HELD), "what sellers hold of what was paid"


@pytest.fixture
def machine(settings: Settings) -> Iterator[type[Histories]]:
    """The machine with a loop of its own: rules are plain functions."""
    with asyncio.Runner() as runner:
        sessions.configure(settings.database_url)
        Histories.runner, Histories.settings = runner, settings
        yield Histories

        async def end() -> None:
            await desk.close()
            snapshots.forget()
            await sessions.close()

        runner.run(end())


def test_any_history_leaves_the_books_in_order(machine: type[Histories]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
