"""How many orders a second this machine takes: over HTTP, beside the load generator, for hot products.

Without an address it starts a market of its own in a temporary folder, and then also measures the floor,
one transaction an order with the same statements on the same PostgreSQL, and counts afterwards whether
anything was sold that was not there (`oversold`) or answered 201 and not kept (`lost`).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from sqlalchemy import insert, text

from commerce.accounts.models import Person
from commerce.catalog import stock
from commerce.catalog.models import Grade, Product, Seller
from commerce.core import clock, load
from commerce.core.db import sessions
from commerce.core.embedded import temporary_folder
from commerce.core.settings import Settings
from commerce.core.supervisor import Market, Plan
from commerce.live.models import LineupItem, LiveCounter, LiveSession
from commerce.orders import floor
from commerce.orders.wire import AddressRequest, BuyerRequest, LineRequest, OrderRequest

SESSION = "BENCH"
COMMUNE = "24505"
PRICE = 185_000
PLENTY = 10_000_000
Report = Callable[[str], None]


@dataclass(slots=True)
class Stall:
    """What is ordered: line-up codes with their prices, all from one session."""

    session: str
    prices: dict[str, int]
    commune: str = COMMUNE
    sold: int = 0
    samples: list[str] = field(default_factory=list)
    """The first answers that were no orders, for the eye."""

    def order(self) -> OrderRequest:
        code = random.choice(list(self.prices))  # noqa: S311 - which durian is no secret
        return OrderRequest(
            lines=[LineRequest(code, 1)],
            buyer=BuyerRequest("Người mua thử", f"09{random.randrange(10**8):08d}"),  # noqa: S311
            address=AddressRequest("66", self.commune, "thôn 1"),
            payment="cod",
            shown_total=self.prices[code],
            consent=True,
        )

    def request(self, host: str) -> bytes:
        """One order as HTTP, with a key of its own."""
        body = msgspec.json.encode(self.order())
        return (
            b"POST /api/v1/live-sessions/%b/orders HTTP/1.1\r\nHost: %b\r\n"
            b"Content-Type: application/json\r\nIdempotency-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
        ) % (self.session.encode(), host.encode(), uuid.uuid4().hex.encode(), len(body), body)

    def see(self, status: int, body: bytes) -> None:
        if status == 201:
            self.sold += 1
        elif len(self.samples) < 3:
            self.samples.append(f"{status} {body[:300].decode(errors='replace')}")


async def open_stall(products: int) -> Stall:
    """A commune, a seller, a session on air and `products` things in plenty, all marked as made up."""
    async with sessions.begin() as db:
        host = Person(phone="0900000099", name="Bench", demo=True)
        seller = Seller(
            commune_code=COMMUNE,
            kind="household",
            name="Bench",
            folded="bench",
            sort_key="bench",
            phone="0900000099",
            address="Bench",
            state="approved",
            demo=True,
        )
        db.add_all([host, seller])
        await db.flush()
        session = LiveSession(
            code=SESSION,
            commune_code=COMMUNE,
            host_id=host.id,
            title="Bench",
            state="live",
            starts_at=clock.now(),
            started_at=clock.now(),
            demo=True,
        )
        db.add(session)
        await db.flush()
        await db.execute(insert(LiveCounter).values(live_session_id=session.id))
        prices = {}
        for number in range(1, products + 1):
            grade_id = await _add_goods(db, seller.id, number)
            db.add(
                LineupItem(live_session_id=session.id, grade_id=grade_id, code=f"A{number}", position=number)
            )
            prices[f"A{number}"] = PRICE
    return Stall(SESSION, prices)


async def _add_goods(db: Any, seller_id: int, number: int) -> int:
    name = f"bench {number}"
    product = Product(
        code=f"BENCH{number}",
        seller_id=seller_id,
        commune_code=COMMUNE,
        name=name,
        folded=name,
        search=name,
        sort_key=name,
        unit="kg",
        industry="food",
        state="approved",
        demo=True,
    )
    db.add(product)
    await db.flush()
    grade = Grade(product_id=product.id, name="A", price=PRICE)
    db.add(grade)
    await db.flush()
    await stock.receive(db, grade.id, PLENTY)
    return int(grade.id)


def known_stall(url: str, products: int) -> Stall:
    """A session on air of a running market, as its public interface shows it."""

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"{url}/api/v1{path}", timeout=10) as answer:  # noqa: S310 - http only
            return json.load(answer)

    running = ask("/live-sessions?state=live")
    found = running if isinstance(running, list) else running.get("items", running.get("live_sessions", []))
    if not found:
        raise RuntimeError(f"no session is on air at {url}")
    shown = ask(f"/live-sessions/{found[0]['code']}")
    offers = {item["code"]: item["price"] for item in shown["lineup"] if item.get("left", 1)}
    if not offers:
        raise RuntimeError(f"nothing is left to order in session {shown['code']}")
    commune = shown["commune"]
    code = commune["code"] if isinstance(commune, dict) else COMMUNE
    return Stall(shown["code"], dict(list(offers.items())[:products]), code)


# ---- the run


async def check_books() -> tuple[int, int]:
    """(oversold, orders kept): units promised beyond what is there or what the ledger knows; all orders."""
    async with sessions.read() as db:
        beyond = await db.scalar(text("SELECT coalesce(sum(greatest(reserved - on_hand, 0)), 0) FROM stock"))
        unknown = sum(
            abs(one.balance[1] - one.ledger[1]) + abs(one.balance[0] - one.ledger[0])
            for one in await stock.rebuild_check(db)
        )
        sold = await db.scalar(
            text(
                "SELECT coalesce(sum(l.quantity), 0) FROM order_line l"
                """ JOIN "order" o ON o.id = l.order_id WHERE o.state = 'placed'"""
            )
        )
        promised = await db.scalar(text("SELECT coalesce(sum(reserved), 0) FROM stock"))
        kept = await db.scalar(text('SELECT count(*) FROM "order"'))
    return int(beyond or 0) + unknown + abs(int(sold or 0) - int(promised or 0)), int(kept or 0)


async def measure(url: str, stall: Stall, concurrency: int, seconds: float) -> dict[str, Any]:
    host = url.split("//", 1)[1]
    tally = await load.run(
        url, lambda: stall.request(host), concurrency=concurrency, seconds=seconds, see=stall.see
    )
    placed = tally.statuses[201]
    return {
        "orders_per_s": round(placed / tally.elapsed),
        "p50_ms": tally.percentile_ms(50),
        "p99_ms": tally.percentile_ms(99),
        "errors": sum(tally.statuses.values()) - placed,
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "samples": stall.samples,
    }


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Processor time used so far, by kind of process; PostgreSQL with its backends."""
    ticks = os.sysconf("SC_CLK_TCK")
    kinds = {pid: name.split("-")[0] for name, pid in pids.items()} | {os.getpid(): "buyers"}
    used: Counter[str] = Counter()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            kind = kinds.get(int(path.parent.name)) or kinds.get(int(fields[1]))
            if kind is not None:
                used[kind] += int(fields[11]) + int(fields[12])
    return {kind: count / ticks for kind, count in used.items()}


async def bench_own(
    market: Market, concurrency: int, seconds: float, products: int, report: Report
) -> dict[str, Any]:
    settings = Settings.from_env(market.environment())
    sessions.configure(settings.database_url, pool_size=2)
    try:
        stall = await open_stall(products)
        report(f"{concurrency} buyers for {seconds:g} s")
        before = cpu_seconds(market.pids())
        result = await measure(settings.public_url, stall, concurrency, seconds)
        after = cpu_seconds(market.pids())
        oversold, kept = await check_books()
        result |= {"oversold": oversold, "lost": max(0, stall.sold - kept)}
        result["cpu_us_per_order"] = {
            kind: round((after[kind] - before.get(kind, 0)) / max(1, kept) * 1e6) for kind in sorted(after)
        }
        report("the floor: one transaction an order, by PostgreSQL's own pgbench")
        result |= await floor.measure(settings, stall.session, stall.order(), min(6.0, seconds))
        return result
    finally:
        await sessions.close()


def main(
    url: str | None = None,
    *,
    concurrency: int = 256,
    seconds: float = 10,
    products: int = 1,
    web: int = 2,
    port: int = 8000,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """The figures of the contract. Against a running market (`url`) there is no floor and `oversold` is None:
    its books are not ours to open."""
    settings_of_run = {"concurrency": concurrency, "seconds": seconds, "products": products}
    if url is not None:
        stall = known_stall(url.rstrip("/"), products)
        result = uvloop.run(measure(url.rstrip("/"), stall, concurrency, seconds))
        return result | {"oversold": None, "floor_per_s": None} | settings_of_run
    with temporary_folder() as folder:
        plan = Plan(folder, port=port, web=web, gateways=0, workers=1, video=0)
        with Market(plan, report=report) as market:
            result = uvloop.run(bench_own(market, concurrency, seconds, products, report))
    return result | settings_of_run | {"web": web}
