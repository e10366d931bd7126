"""Races, each with its twin: the same story with the guard switched off, in which the race must happen.

A guard without a twin proves nothing: the race may simply not have been met. Both sides wait for each
other by events, so that a busy machine changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from commerce.catalog import stock
from commerce.core.db import Sessions
from commerce.core.errors import MarketError
from commerce.core.settings import Settings
from commerce.orders import desk as desks
from commerce.orders import expiry, placing, service
from commerce.orders.desk import Desk
from commerce.orders.expiry import expire_order
from commerce.orders.placing import Basket
from commerce.orders.queries import read_lineup
from commerce.orders.service import body_hash, check
from commerce.orders.wire import PurchaseAnswer
from commerce.payments import notices, receiving
from commerce.payments.receiving import Credit
from tests.orders.market import Market, add_deal, change, one, open_market, order_request
from tests.races.meeting import BRIEFLY, TWIN, Meeting, happened, without_compare_and_set, without_row_locks

PRICE = 185_000


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is busy with other things may keep a commit for seconds; nobody is sent away for that."""
    monkeypatch.setattr(desks, "PATIENCE_S", 60.0)


async def basket(settings: Settings, key: str, *, total: int = PRICE, payment: str = "cod") -> Basket:
    order = order_request(total=total, payment=payment)
    made = check(settings, order, await read_lineup("EAKNUEC"), frozenset({"24505"}), trusted=False)
    made.idempotency_key, made.body_hash = key, body_hash("EAKNUEC", order)
    return made


async def two_desks(*baskets: Basket) -> list[PurchaseAnswer | BaseException]:
    """As two web processes would: each desk has its own connection and knows nothing of the other."""
    desks = [Desk() for _ in baskets]
    try:
        places = (desk.place(one) for desk, one in zip(desks, baskets, strict=True))
        return await asyncio.gather(*places, return_exceptions=True)
    finally:
        await asyncio.gather(*(desk.close() for desk in desks))


async def place_one(settings: Settings, payment: str = "vietqr") -> dict[str, Any]:
    (answer,) = await two_desks(await basket(settings, "first", payment=payment))
    assert isinstance(answer, PurchaseAnswer)
    order = answer.orders[0]
    order_id = await one('SELECT id FROM "order" WHERE code = :code', code=order.code)
    return {"id": order_id, "code": order.code, "key": order.key}


# ---- the last unit


async def buy_the_last_unit(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, patience: float = BRIEFLY
) -> list[str]:
    baskets = [await basket(settings, "a"), await basket(settings, "b")]
    monkeypatch.setattr(placing, "write", Meeting(patience=patience).before(placing.write))
    answers = await two_desks(*baskets)
    return sorted(getattr(answer, "code", "placed") for answer in answers)


async def test_the_last_unit_is_sold_once(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_market(A1=1)
    assert await buy_the_last_unit(settings, monkeypatch) == ["placed", "sold_out"]
    assert await one("SELECT reserved FROM stock") == 1


async def test_twin_without_locks_the_last_unit_is_sold_twice(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_market(A1=1)
    await without_row_locks(monkeypatch)
    assert await buy_the_last_unit(settings, monkeypatch, TWIN) == ["placed", "placed"]
    assert await one("SELECT reserved FROM stock") == 2


# ---- the last of a deal


async def buy_of_a_deal(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, patience: float = BRIEFLY
) -> list[str]:
    """Two orders by one phone, at the price of the deal."""
    baskets = [await basket(settings, key, total=100_000) for key in ("a", "b")]
    monkeypatch.setattr(placing, "write", Meeting(patience=patience).before(placing.write))
    answers = await two_desks(*baskets)
    return sorted(getattr(answer, "code", "placed") for answer in answers)


async def deal_market(quantity: int = 1, per_buyer: int | None = None) -> Market:
    market = await open_market(A1=10)
    item = market.goods["A1"].item_id
    await add_deal(item, market.session_id, price=100_000, quantity=quantity, per_buyer=per_buyer)
    return market


async def test_a_deal_is_given_as_often_as_it_says(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deal_market()
    assert await buy_of_a_deal(settings, monkeypatch) == ["placed", "total_changed"]
    assert await one("SELECT taken FROM deal") == 1


async def test_twin_without_locks_a_deal_is_given_too_often(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deal_market()
    await without_row_locks(monkeypatch)
    assert await buy_of_a_deal(settings, monkeypatch, TWIN) == ["placed", "placed"]
    assert await one("SELECT taken FROM deal") == 2


# ---- as many of a deal as one buyer may have


async def test_one_buyer_at_two_processes_gets_only_so_many(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deal_market(quantity=5, per_buyer=1)
    assert await buy_of_a_deal(settings, monkeypatch) == ["placed", "total_changed"]
    assert await one("SELECT taken FROM deal") == 1


async def test_twin_without_locks_one_buyer_gets_too_many(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deal_market(quantity=5, per_buyer=1)
    await without_row_locks(monkeypatch)
    assert await buy_of_a_deal(settings, monkeypatch, TWIN) == ["placed", "placed"]
    assert await one("SELECT taken FROM deal") == 2


# ---- one key at two web processes


async def send_one_key_twice(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    # Different goods, so that no stock row makes one wait for the other.
    first, second = await basket(settings, "same"), await basket(settings, "same")
    second.lines = [(second.lineup.items["A2"], 1)]
    monkeypatch.setattr(placing, "write", Meeting(patience=TWIN).before(placing.write))
    answers = await two_desks(first, second)
    return {answer.purchase for answer in answers if isinstance(answer, PurchaseAnswer)}


async def test_one_key_at_two_processes_is_one_order(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_market(A1=10, A2=10)
    assert len(await send_one_key_twice(settings, monkeypatch)) == 1
    assert await one('SELECT count(*) FROM "order"') == 1


async def test_twin_without_the_database_one_key_is_two_orders(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_market(A1=10, A2=10)
    await change("ALTER TABLE idempotency_key DROP CONSTRAINT pk_idempotency_key")
    assert len(await send_one_key_twice(settings, monkeypatch)) == 2
    assert await one('SELECT count(*) FROM "order"') == 2


# ---- the same notice twice


async def tell_twice(order: dict[str, Any], seller_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "remember", Meeting(patience=TWIN).before(notices.remember))
    credit = Credit("sepay", "4711", PRICE, memo=order["code"])
    await asyncio.gather(
        *(notices.apply_once(credit, seller_id, {}) for _ in range(2)), return_exceptions=True
    )


async def test_a_notice_told_twice_at_once_counts_once(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = await open_market(A1=10)
    order = await place_one(settings)
    await tell_twice(order, market.goods["A1"].seller_id, monkeypatch)
    assert await one("SELECT count(*) FROM receipt") == 1
    assert await one("SELECT count(*) FROM refund") == 0


async def test_twin_without_the_inbox_it_counts_twice(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = await open_market(A1=10)
    order = await place_one(settings)
    await change("ALTER TABLE webhook_event DROP CONSTRAINT uq_webhook_event_source_external_id")
    await change("ALTER TABLE receipt DROP CONSTRAINT uq_receipt_source_external_id")
    await tell_twice(order, market.goods["A1"].seller_id, monkeypatch)
    assert await one("SELECT count(*) FROM receipt") == 2
    assert await one("SELECT amount FROM refund") == PRICE, "money that never came twice would go back"


# ---- money in the moment of expiry


async def pay_while_expiring(
    order: dict[str, Any], seller_id: int, monkeypatch: pytest.MonkeyPatch, patience: float = BRIEFLY
) -> str:
    """The payment has begun when the time is up; it is committed before the expiry acts."""
    await change("UPDATE \"order\" SET expires_at = now() - interval '1 second'")
    meeting, paid = Meeting(patience=patience), asyncio.Event()
    monkeypatch.setattr(receiving, "_count", meeting.before(receiving._count))
    close = service.close_order

    async def pay() -> None:
        await notices.apply_once(Credit("sepay", "4711", PRICE, memo=order["code"]), seller_id, {})
        paid.set()

    async def close_after_payment(*arguments: Any, **named: Any) -> None:
        await meeting.wait()
        await happened(paid, patience)
        await close(*arguments, **named)

    monkeypatch.setattr(expiry, "close_order", close_after_payment)
    await asyncio.gather(pay(), expire_order(order["id"]))
    states = "SELECT o.state || ' ' || p.state FROM \"order\" o JOIN payment p ON p.order_id = o.id"
    return str(await one(states))


async def test_money_in_the_moment_of_expiry_keeps_the_order(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = await open_market(A1=10)
    order = await place_one(settings)
    seller = market.goods["A1"].seller_id
    assert await pay_while_expiring(order, seller, monkeypatch) == "placed paid"
    assert await one("SELECT reserved FROM stock") == 1


async def test_twin_without_locks_a_paid_order_expires(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = await open_market(A1=10)
    order = await place_one(settings)
    await without_row_locks(monkeypatch)
    seller = market.goods["A1"].seller_id
    assert await pay_while_expiring(order, seller, monkeypatch, TWIN) == "expired paid"


# ---- a buyer who cancels while the money comes


async def cancel_while_paying(
    order: dict[str, Any], seller_id: int, monkeypatch: pytest.MonkeyPatch, patience: float = BRIEFLY
) -> str:
    """The payment has read that the order waits for it, and is about to write; the buyer cancels."""
    paying, cancelled = asyncio.Event(), asyncio.Event()
    pay = receiving._pay

    async def pay_slowly(*arguments: Any) -> None:
        paying.set()
        await happened(cancelled, patience)  # a cancellation that nothing holds back
        await pay(*arguments)

    monkeypatch.setattr(receiving, "_pay", pay_slowly)
    credit = Credit("sepay", "4711", PRICE, memo=order["code"])
    payment = asyncio.create_task(notices.apply_once(credit, seller_id, {}))
    await paying.wait()
    await service.cancel_order(order["code"], order["key"], "", public_url="")
    cancelled.set()
    await payment
    kept = """
        SELECT o.state || ', paid ' || p.paid || ', back ' || coalesce((SELECT sum(amount) FROM refund), 0)
        FROM "order" o JOIN payment p ON p.order_id = o.id
    """
    return str(await one(kept))


async def test_money_for_an_order_that_is_being_cancelled_goes_back(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = await open_market(A1=10)
    order = await place_one(settings)
    found = await cancel_while_paying(order, market.goods["A1"].seller_id, monkeypatch)
    assert found == f"cancelled, paid {PRICE}, back {PRICE}"


async def test_twin_without_guards_the_money_is_kept(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = await open_market(A1=10)
    order = await place_one(settings)
    await without_row_locks(monkeypatch)
    without_compare_and_set(monkeypatch)
    found = await cancel_while_paying(order, market.goods["A1"].seller_id, monkeypatch, TWIN)
    assert found == f"cancelled, paid {PRICE}, back 0"


# ---- one bad order among many


async def test_a_poison_order_does_not_hold_up_the_others(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_market(A1=100)
    baskets = [await basket(settings, f"k{number}") for number in range(20)]
    baskets[7].buyer_name = "a zero byte \x00 that PostgreSQL does not take"
    desk = Desk()
    answers = await asyncio.gather(*(desk.place(one) for one in baskets), return_exceptions=True)
    await desk.close()
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert failed == [7]
    assert not isinstance(answers[7], MarketError), "a fault of ours stays loud"
    assert await one('SELECT count(*) FROM "order"') == 19


async def test_unsorted_baskets_of_two_items_never_deadlock(sessions: Sessions, settings: Settings) -> None:
    market = await open_market(A1=1000, A2=1000)
    desks = [Desk() for _ in range(4)]
    places = []
    for number in range(80):
        made = await basket(settings, f"k{number}", total=2 * PRICE)
        items = made.lineup.items
        made.lines = (
            [(items["A1"], 1), (items["A2"], 1)] if number % 2 else [(items["A2"], 1), (items["A1"], 1)]
        )
        places.append(desks[number % 4].place(made))
    answers = await asyncio.gather(*places, return_exceptions=True)
    await asyncio.gather(*(desk.close() for desk in desks))
    assert all(isinstance(answer, PurchaseAnswer) for answer in answers), answers
    assert await one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    counted = "SELECT orders FROM live_counter WHERE live_session_id = :s"
    assert await one(counted, s=market.session_id) == 80


async def test_closing_answers_everybody_and_places_what_waits(
    sessions: Sessions, settings: Settings
) -> None:
    await open_market(A1=1000)
    desk = Desk()
    baskets = [await basket(settings, f"k{number}") for number in range(300)]
    places = [asyncio.create_task(desk.place(one)) for one in baskets]
    await asyncio.sleep(0)
    await desk.close()
    answers = await asyncio.gather(*places)
    assert all(isinstance(answer, PurchaseAnswer) for answer in answers)
    assert await one('SELECT count(*) FROM "order"') == 300


async def test_past_the_bounded_queue_buyers_are_told_to_come_again(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "MAX_WAITING", 5)
    market = await open_market(A1=1000)
    desk = Desk()
    baskets = [await basket(settings, f"k{number}") for number in range(20)]
    async with sessions.begin() as db:  # somebody holds the stock: the first batch waits, and the queue fills
        await stock.lock(db, [market.goods["A1"].grade_id])
        first = asyncio.create_task(desk.place(baskets[0]))
        await asyncio.sleep(0)
        while desk.waiting:  # noqa: ASYNC110 - its thread tells nobody
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(desk.place(one)) for one in baskets[1:]]
        await asyncio.sleep(0)
        assert [other.done() for other in others] == [False] * 5 + [True] * 14
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    await desk.close()
    assert [getattr(answer, "code", "placed") for answer in answers] == ["placed"] * 6 + ["busy"] * 14
