"""The floor of the orders bench places real orders, one transaction each."""

from __future__ import annotations

from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.orders import floor
from tests.orders.market import ledger_is_right, one, open_market, order_request


async def test_the_floor_places_whole_orders(settings: Settings, sessions: Sessions) -> None:
    await open_market(A1=1_000_000)
    script, values = await floor.listen(settings, "EAKNUEC", order_request())
    assert await one('SELECT count(*) FROM "order"') == 0, "the order that was listened to is undone"
    assert script.count("BEGIN;") == script.count("COMMIT;") == 1
    assert values["l_code"] == '{"A1"}'
    measured = await floor.measure(settings, "EAKNUEC", order_request(), seconds=4)
    assert measured["floor_per_s"] > 0
    placed = await one('SELECT count(*) FROM "order"')
    assert placed > 0
    for table in ("purchase", "order_line", "order_history", "payment", "idempotency_key", "outbox"):
        assert await one(f"SELECT count(*) FROM {table}") == placed, table
    assert await one("SELECT reserved FROM stock") == placed
    assert await one("SELECT orders FROM live_counter") == placed
    assert await ledger_is_right()


def test_values_are_written_as_postgresql_reads_them() -> None:
    assert floor.literal([1, None, 'a "b" \\ c']) == '{"1",NULL,"a \\"b\\" \\\\ c"}'
    assert floor.literal("plain") == "plain"
