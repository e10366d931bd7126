"""Every pair of states of every table: what is allowed happens and is written down, all else is refused."""

from __future__ import annotations

import itertools
from enum import StrEnum
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from commerce.core.db import sessions
from commerce.core.errors import WrongState
from commerce.core.states import StateTable
from commerce.fulfilment.models import SHIPMENT_STATES
from commerce.live.service import STATES as LIVE_STATES
from commerce.orders.models import ORDER_STATES
from commerce.payments.models import PAYMENT_STATES, REFUND_STATES
from tests.orders.market import change, one, open_market
from tests.payments.ways import order

TABLES: dict[str, StateTable[Any]] = {
    "live session": LIVE_STATES,
    "order": ORDER_STATES,
    "payment": PAYMENT_STATES,
    "refund": REFUND_STATES,
    "shipment": SHIPMENT_STATES,
}


@pytest.fixture
async def subjects(client: httpx.AsyncClient) -> dict[str, int]:
    """One of each, by the table's name."""
    market = await open_market(A1=10)
    await order(client, "cod")
    number, payment = await one('SELECT id FROM "order"'), await one("SELECT id FROM payment")
    refund = "INSERT INTO refund (order_id, payment_id, amount, state) VALUES (:o, :p, 1, 'wanted')"
    await change(refund, o=number, p=payment)
    await change("INSERT INTO shipment (order_id, state) VALUES (:o, 'sent')", o=number)
    return {
        "live session": market.session_id,
        "order": number,
        "payment": payment,
        "refund": await one("SELECT id FROM refund"),
        "shipment": await one("SELECT id FROM shipment"),
    }


async def put(table: StateTable[Any], subject: int, state: StrEnum) -> None:
    async with sessions.begin() as db:
        (await db.get_one(table.model, subject)).state = state.value
        for step in await db.scalars(select(table.history).where(table.history.subject_id == subject)):
            await db.delete(step)


async def seen(table: StateTable[Any], subject: int) -> tuple[str, list[tuple[str, str, int | None, str]]]:
    """The state, and what history says."""
    async with sessions.read() as db:
        row = await db.get_one(table.model, subject)
        steps = await db.scalars(select(table.history).where(table.history.subject_id == subject))
        return row.state, [(step.before, step.after, step.by, step.reason) for step in steps]


@pytest.mark.parametrize("name", TABLES)
async def test_every_pair(subjects: dict[str, int], name: str) -> None:
    table, subject = TABLES[name], subjects[name]
    kind: Any = type(next(iter(table.allowed)))
    states = list(kind)
    assert set(table.allowed) == set(states), "a state without a line in its table"
    allowed = 0
    for before, after in itertools.product(states, states):
        await put(table, subject, before)
        try:
            async with sessions.begin() as db:
                await table.transition(db, subject, before, after, by=7, reason="vì thế")
        except WrongState:
            assert after not in table.allowed[before], (before, after)
            assert await seen(table, subject) == (before.value, [])
        else:
            assert after in table.allowed[before], (before, after)
            assert await seen(table, subject) == (
                after.value,
                [(before.value, after.value, 7, "vì thế")],
            )
            allowed += 1
    assert allowed == sum(map(len, table.allowed.values()))


@pytest.mark.parametrize("name", TABLES)
async def test_a_state_that_has_moved_on_is_not_overwritten(subjects: dict[str, int], name: str) -> None:
    table, subject = TABLES[name], subjects[name]
    before, after = next((one, next(iter(to))) for one, to in table.allowed.items() if to)
    elsewhere = next(state for state in table.allowed if state is not before)
    await put(table, subject, elsewhere)
    with pytest.raises(WrongState):
        async with sessions.begin() as db:
            await table.transition(db, subject, before, after)
    assert await seen(table, subject) == (elsewhere.value, [])
