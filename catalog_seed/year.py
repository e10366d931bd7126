"""A made year of the province's market, to try screens and measure speed: `python -m catalog_seed.year`.

102 communes (a few of them silent), about 5,000 sessions, as many visits as asked for, with page beacons and
orders, all marked `demo`. Everything follows from the seed: communes differ in strength, audiences
grow, evenings and weekends draw more, some communes fall asleep. One session is the first real one's size:
150,000 views.

Visits are drawn by numpy and written in PostgreSQL's binary COPY format straight from arrays: all fields but
the source have a fixed width, so one array per source and session is a block of rows. About 20 s for 2
million visits, a few minutes for 20 million (3.5 GB on disk). For a folder of its own; it is not added to
a market that already holds a made year.
"""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import click
import numpy as np
from numpy.typing import NDArray

from catalog_seed import loader
from commerce.analytics import rollup
from commerce.analytics.ingest import ensure_partitions
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.reach import market_settings
from commerce.core.text import fold, sort_key

EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
RAW = ("visit", "page_event")
SOURCES = ("facebook", "zalo", "tiktok", "channel", "direct", "qr")
SHARES = (0.34, 0.24, 0.2, 0.1, 0.08, 0.04)
BIG = 150_000
"""Views of the session that is as big as the first real one."""
BIG_COMMUNE = "24505"
EVENTS_PER_VISIT = 0.3
GOODS = (
    ("Sầu riêng", "food", "kg", (("A", 95_000), ("B", 70_000), ("C", 45_000))),
    ("Cà phê rang", "drink", "box", (("", 120_000),)),
    ("Mật ong", "food", "piece", (("", 180_000),)),
    ("Hồ tiêu", "food", "kg", (("", 160_000),)),
    ("Bơ sáp", "food", "kg", (("A", 55_000), ("B", 35_000))),
    ("Rượu cần", "drink", "piece", (("", 150_000),)),
    ("Thổ cẩm", "handicraft", "piece", (("", 350_000),)),
    ("Mắc ca", "food", "box", (("", 210_000),)),
)

Progress = Callable[[str], None]
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Show:
    """One session to be made."""

    id: int
    code: str
    commune: str
    name: str
    starts: datetime
    seconds: int
    weight: float
    rate: float
    """Orders for one view."""
    visits: int = 0
    orders: int = 0


@dataclass(frozen=True, slots=True)
class Good:
    """One thing on sale."""

    grade_id: int
    seller_id: int
    product: str
    grade: str
    unit: str
    price: int


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH_2000) // timedelta(microseconds=1)


class Year:
    """The making of it, on one connection."""

    def __init__(self, connection: asyncpg.Connection, seed: int, progress: Progress) -> None:
        self.db = connection
        self.random = np.random.default_rng(seed)
        self.say = progress
        self.first = clock.today() - timedelta(days=364)
        self.last = clock.today() - timedelta(days=1)
        self.goods: dict[str, list[Good]] = {}
        self.hosts: dict[str, int] = {}
        self.visit_number = 0
        self.order_number = 0

    async def make(self, visits: int, session_count: int, orders: int) -> None:
        if await self.db.fetchval("SELECT count(*) FROM live_session WHERE code LIKE 'NAM%'"):
            raise click.ClickException("this market already holds a made year; use another --data-dir")
        communes = await self.db.fetch("SELECT code, short_name FROM commune ORDER BY code")
        await self.db.execute("SET synchronous_commit = off")
        for table in RAW:
            await ensure_partitions(self.db, table, self._months())
        for row in communes:
            await self._open_stall(row["code"], row["short_name"])
        shows = self._plan(communes, session_count)
        self._share_out(shows, visits, orders)
        await self._write_sessions(shows)
        items = await self._write_lineups(shows)
        async with self._unchecked():
            await self._write_crowds(shows, items)
        await self.db.execute("ANALYZE")

    @asynccontextmanager
    async def _unchecked(self) -> AsyncIterator[None]:
        """Foreign keys of the raw rows are checked once at the end: row by row they cost most of all."""
        found = await self.db.fetch(
            "SELECT conrelid::regclass::text AS on_table, conname, pg_get_constraintdef(oid) AS rule"
            " FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"
            " AND conrelid::regclass::text = ANY($1)",
            list(RAW),
        )
        for row in found:
            await self.db.execute(f"ALTER TABLE {row['on_table']} DROP CONSTRAINT {row['conname']}")
        try:
            yield
        finally:
            for row in found:
                add = f"ALTER TABLE {row['on_table']} ADD CONSTRAINT {row['conname']} {row['rule']}"
                await self.db.execute(add)

    def _months(self) -> list[datetime]:
        days = (self.last - self.first).days + 3
        return [
            datetime.combine(self.first + timedelta(days=n), time(), UTC) for n in range(-1, days, 20)
        ] + [datetime.combine(self.last + timedelta(days=2), time(), UTC)]

    # ---- who sells what

    async def _open_stall(self, code: str, short_name: str) -> None:
        """A host and a co-operative with two or three products, all made up."""
        name = f"HTX {short_name} (minh hoạ)"
        self.hosts[code] = await self.db.fetchval(
            "INSERT INTO person (phone, name, identity_verified_at, demo) VALUES ($1, $2, now(), true)"
            " RETURNING id",
            f"0888{code}0",
            f"Bí thư {short_name} (minh hoạ)",
        )
        seller = await self.db.fetchval(
            "INSERT INTO seller (commune_code, kind, name, folded, sort_key, phone, address, state, demo)"
            " VALUES ($1, 'cooperative', $2, $3, $4, '0900000199', 'thôn 1', 'approved', true) RETURNING id",
            code,
            name,
            fold(name),
            sort_key(name),
        )
        chosen = self.random.choice(len(GOODS), size=int(self.random.integers(2, 4)), replace=False)
        self.goods[code] = []
        for position in sorted(int(n) for n in chosen):
            product, industry, unit, grades = GOODS[position]
            full = f"{product} {short_name}"
            product_id = await self.db.fetchval(
                "INSERT INTO product (code, seller_id, commune_code, name, folded, search, sort_key, unit,"
                " industry, state, papers_checked_at, demo)"
                " VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, 'approved', now(), true) RETURNING id",
                f"NAM{code}{position}",
                seller,
                code,
                full,
                fold(full),
                sort_key(full),
                unit,
                industry,
            )
            for grade, price in grades:
                grade_id = await self.db.fetchval(
                    "INSERT INTO grade (product_id, name, price) VALUES ($1, $2, $3) RETURNING id",
                    product_id,
                    grade,
                    price,
                )
                await self.db.execute("INSERT INTO stock (grade_id, on_hand) VALUES ($1, 100000)", grade_id)
                self.goods[code].append(Good(grade_id, seller, full, grade, unit, price))

    # ---- when, and for how many

    def _plan(self, communes: list[asyncpg.Record], count: int) -> list[Show]:
        random = self.random
        strength = np.exp(random.normal(0, 0.7, len(communes)))
        rates = random.uniform(0.4, 2.2, len(communes))
        # Some communes fell asleep at some day of the year, and a few have not begun.
        asleep = np.where(random.random(len(communes)) < 0.12, random.integers(120, 345, len(communes)), 400)
        begins = np.where(random.random(len(communes)) < 0.3, random.integers(0, 300, len(communes)), 0)
        begins = np.where(random.random(len(communes)) < 0.03, 400, begins)
        share = np.maximum(0, np.minimum(asleep, 364) - begins) * np.sqrt(strength)
        per_commune = random.multinomial(count, share / share.sum())
        shows: list[Show] = []
        for index, row in enumerate(communes):
            days = random.choice(364, size=per_commune[index] * 6)
            days = np.unique(days[(days >= begins[index]) & (days < asleep[index])])
            if len(days) > per_commune[index]:
                days = np.sort(random.choice(days, size=per_commune[index], replace=False))
            shows += [self._show(row, int(day), float(strength[index]), float(rates[index])) for day in days]
        shows.append(self._big_show(communes))
        shows.sort(key=lambda show: show.starts)
        for number, show in enumerate(shows):
            show.code = f"NAM{number:05}"
        return shows

    def _show(self, row: asyncpg.Record, day: int, strength: float, rate: float) -> Show:
        on = self.first + timedelta(days=day)
        hour = float(self.random.choice([9.0, 15.0, 19.5], p=[0.2, 0.3, 0.5]))
        starts = self._at(on, hour * 60 + float(self.random.integers(-30, 31)))
        draw = {9.0: 0.7, 15.0: 0.9, 19.5: 1.25}[hour] * (1.5 if on.weekday() >= 5 else 1.0)
        growth = 1 + 0.8 * day / 364
        weight = strength * draw * growth * float(np.exp(self.random.normal(0, 0.45)))
        seconds = int(self.random.integers(40, 110)) * 60
        return Show(0, "", row["code"], row["short_name"], starts, seconds, weight, rate)

    def _big_show(self, communes: list[asyncpg.Record]) -> Show:
        row = next(row for row in communes if row["code"] == BIG_COMMUNE)
        on = self.last - timedelta(days=91)
        return Show(0, "", BIG_COMMUNE, row["short_name"], self._at(on, 1050), 7200, 0.0, 1.0, visits=BIG)

    def _at(self, day: date, minutes: float) -> datetime:
        midnight = datetime.combine(day, time(), clock.VIETNAM)
        return (midnight + timedelta(minutes=round(minutes))).astimezone(UTC)

    def _share_out(self, shows: list[Show], visits: int, orders: int) -> None:
        total = sum(show.weight for show in shows)
        rest = max(0, visits - BIG)
        for show in shows:
            show.visits = show.visits or max(1, round(rest * show.weight / total))
        wanted = np.array([show.visits * show.rate for show in shows])
        for show, count in zip(shows, self.random.multinomial(orders, wanted / wanted.sum()), strict=True):
            show.orders = int(count)

    # ---- sessions

    async def _write_sessions(self, shows: list[Show]) -> None:
        first = await self.db.fetchval(
            "SELECT nextval(pg_get_serial_sequence('live_session', 'id')) FROM generate_series(1, $1)"
            " ORDER BY 1 LIMIT 1",
            len(shows),
        )
        rows = []
        for number, show in enumerate(shows):
            show.id = first + number
            ends = show.starts + timedelta(seconds=show.seconds)
            on = clock.local(show.starts)
            title = f"Phiên chợ {show.name} ngày {on.day}/{on.month} (minh hoạ)"
            rows.append(
                (
                    *(show.id, show.code, show.commune, self.hosts[show.commune], title, "ended"),
                    *(show.starts, show.starts, ends, "highlands", True),
                )
            )
        await self.db.copy_records_to_table(
            "live_session",
            records=rows,
            columns=(
                *("id", "code", "commune_code", "host_id", "title", "state", "starts_at", "started_at"),
                *("ended_at", "poster", "demo"),
            ),
        )
        self.say(f"{len(rows)} sessions")

    async def _write_lineups(self, shows: list[Show]) -> dict[int, list[tuple[str, Good, int]]]:
        """session -> (code, thing, pin); everything is pinned in turn."""
        items: dict[int, list[tuple[str, Good, int]]] = {}
        lineup, pins = [], []
        count = sum(len(self.goods[show.commune]) for show in shows)
        ids = {
            table: await self.db.fetchval(
                "SELECT min(n) FROM (SELECT nextval(pg_get_serial_sequence($1, 'id')) AS n"
                " FROM generate_series(1, $2)) AS taken",
                table,
                count,
            )
            for table in ("lineup_item", "pin")
        }
        number = 0
        for show in shows:
            goods = self.goods[show.commune]
            slot = show.seconds / len(goods)
            items[show.id] = []
            for position, good in enumerate(goods):
                item, pin = ids["lineup_item"] + number, ids["pin"] + number
                code = f"{'ABCDEFGH'[position // 9]}{position % 9 + 1}"
                lineup.append((item, show.id, good.grade_id, code, position))
                begins = show.starts + timedelta(seconds=slot * position)
                pins.append((pin, show.id, item, begins, begins + timedelta(seconds=slot)))
                items[show.id].append((code, good, pin))
                number += 1
        columns = ("id", "live_session_id", "grade_id", "code", "position")
        await self.db.copy_records_to_table("lineup_item", records=lineup, columns=columns)
        columns = ("id", "live_session_id", "item_id", "at", "until")
        await self.db.copy_records_to_table("pin", records=pins, columns=columns)
        return items

    # ---- crowds

    async def _write_crowds(self, shows: list[Show], items: dict[int, list[tuple[str, Good, int]]]) -> None:
        done = 0
        total = sum(show.visits for show in shows)
        for start in range(0, len(shows), 100):
            some = shows[start : start + 100]
            crowds = [self._crowd(show) for show in some]
            await self._copy("visit", VISIT_COLUMNS, (crowd.visit_rows() for crowd in crowds))
            events = (
                self._event_rows(show, crowd, items[show.id])
                for show, crowd in zip(some, crowds, strict=True)
            )
            await self._copy("page_event", EVENT_COLUMNS, events)
            await self._write_orders(some, crowds, items)
            done += sum(show.visits for show in some)
            self.say(f"{done:,} of {total:,} visits")

    def _crowd(self, show: Show) -> Crowd:
        """Arrivals thicken early and thin out; most leave soon, some stay long; some have come before."""
        random, n = self.random, show.visits
        length = show.seconds * 1_000_000
        joined = (random.beta(1.3, 2.0, n) * length * 0.98).astype(np.int64)
        stays = np.where(random.random(n) < 0.3, random.exponential(9, n), random.exponential(190, n))
        left = np.minimum(joined + (stays * 1_000_000).astype(np.int64) + 400_000, length)
        pool = 1_000_000_000 + int(show.commune) * 1_000_000
        visitors = pool + random.integers(0, max(50, int(n * 12)), n)
        visitors = np.where(random.random(n) < 0.05, random.integers(0, 400_000, n), visitors)
        again = random.random(n) < 0.12  # the same person once more in the same session
        visitors = np.where(again, visitors[random.integers(0, n, n)], visitors)
        base = microseconds(show.starts)
        numbers = np.arange(self.visit_number, self.visit_number + n)
        self.visit_number += n
        # Whole milliseconds, as gateways report.
        return Crowd(
            show,
            numbers,
            base + joined // 1000 * 1000,
            base + left // 1000 * 1000,
            visitors,
            random.choice(len(SOURCES), n, p=SHARES),
        )

    def _event_rows(self, show: Show, crowd: Crowd, items: list[tuple[str, Good, int]]) -> bytes:
        random = self.random
        n = int(show.visits * EVENTS_PER_VISIT)
        who = random.integers(0, show.visits, n)
        at = crowd.joined[who] + (random.random(n) * (crowd.left - crowd.joined)[who]).astype(np.int64)
        rows = np.zeros(n, EVENT_ROW)
        _lengths(rows, EVENT_ROW)
        rows["reported"] = (crowd.numbers[0] << 4) + np.arange(n)
        rows["at"] = at // 1000 * 1000
        rows["session"] = show.id
        rows["visitor"] = _visitors(crowd.visitors[who])
        codes = np.array([code for code, _, _ in items], "S2")
        rows["item"] = codes[random.integers(0, len(codes), n)]
        kinds = random.choice(3, n, p=(0.8, 0.16, 0.04))
        blocks = []
        for number, kind in enumerate((b"impression", b"click", b"basket")):
            some = rows[kinds == number]
            blocks.append(_with_word(some, "kind", kind))
        return b"".join(blocks)

    async def _write_orders(
        self, shows: list[Show], crowds: list[Crowd], items: dict[int, list[tuple[str, Good, int]]]
    ) -> None:
        made = sum(show.orders for show in shows)
        if not made:
            return
        first = {
            table: await self.db.fetchval(
                "SELECT min(n) FROM (SELECT nextval(pg_get_serial_sequence($1, 'id')) AS n"
                " FROM generate_series(1, $2)) AS taken",
                table,
                made,
            )
            for table in ("purchase", '"order"')
        }
        rows = OrderRows([], [], [], [], [])
        number = 0
        for show, crowd in zip(shows, crowds, strict=True):
            who = self.random.integers(0, show.visits, show.orders)
            part = self.random.random(show.orders)
            for visit, fraction in zip(who.tolist(), part.tolist(), strict=True):
                joined, left = int(crowd.joined[visit]), int(crowd.left[visit])
                at = EPOCH_2000 + timedelta(microseconds=joined + int((left - joined) * fraction))
                rows.add(
                    self, show, crowd, visit, at, items[show.id],
                    first["purchase"] + number, first['"order"'] + number,
                )  # fmt: skip
                number += 1
        await rows.write(self.db)

    async def _copy(self, table: str, columns: tuple[str, ...], blocks: Iterator[bytes]) -> None:
        source = io.BytesIO()
        source.write(b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0))
        for block in blocks:
            source.write(block)
        source.write(struct.pack("!h", -1))
        source.seek(0)
        await self.db.copy_to_table(table, source=source, columns=list(columns), format="binary")


# ---- rows of fixed width


def _row(*fields: tuple[str, str]) -> np.dtype[Any]:
    """A binary COPY row: the number of fields, then length and value of each, all big-endian."""
    parts: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in fields:
        parts += [(f"{name}_length", ">i4"), (name, kind)]
    return np.dtype(parts)


VISIT_COLUMNS = ("id", "joined_at", "live_session_id", "visitor", "gateway", "left_at", "source")
VISIT_ROW = _row(
    ("id", "S10"),
    ("joined", ">i8"),
    ("session", ">i8"),
    ("visitor", "S12"),
    ("gateway", "S3"),
    ("left", ">i8"),
)
EVENT_COLUMNS = ("reported", "position", "at", "live_session_id", "visitor", "item_code", "kind")
EVENT_ROW = _row(
    ("reported", ">i8"),
    ("position", ">i2"),
    ("at", ">i8"),
    ("session", ">i8"),
    ("visitor", "S12"),
    ("item", "S2"),
)


def _lengths(rows: NDArray[Any], kind: np.dtype[Any]) -> None:
    """Fill in what COPY wants to know of each field; one more field, a word, follows (`_with_word`)."""
    names = kind.names or ()
    rows["fields"] = sum(name.endswith("_length") for name in names) + 1
    for name in names:
        if name.endswith("_length"):
            rows[name] = kind[name.removesuffix("_length")].itemsize


def _with_word(rows: NDArray[Any], name: str, word: bytes) -> bytes:
    """These rows with one more text field, the same for all."""
    wide = np.dtype([*rows.dtype.descr, (f"{name}_length", ">i4"), (name, f"S{len(word)}")])
    out = np.zeros(len(rows), wide)
    for field in rows.dtype.names or ():
        out[field] = rows[field]
    out[f"{name}_length"] = len(word)
    out[name] = word
    return out.tobytes()


def _visitors(numbers: Ints) -> NDArray[np.bytes_]:
    return np.char.add(b"n", np.char.zfill(numbers.astype("S11"), 11))


@dataclass(frozen=True, slots=True)
class Crowd:
    """The visits of one session, one array a column; times as microseconds since 2000, PostgreSQL's own."""

    show: Show
    numbers: Ints
    joined: Ints
    left: Ints
    visitors: Ints
    sources: Ints

    def visit_rows(self) -> bytes:
        order = np.argsort(self.joined)
        rows = np.zeros(len(order), VISIT_ROW)
        _lengths(rows, VISIT_ROW)
        # Numbers that grow keep the primary key's index a row of appended pages.
        rows["id"] = np.char.add(b"y", np.char.zfill(self.numbers.astype("S9"), 9))
        rows["joined"], rows["left"] = self.joined[order], self.left[order]
        rows["session"], rows["gateway"] = self.show.id, b"nam"
        rows["visitor"] = _visitors(self.visitors[order])
        sources = self.sources[order]
        return b"".join(
            _with_word(rows[sources == number], "source", word.encode())
            for number, word in enumerate(SOURCES)
        )


@dataclass(slots=True)
class OrderRows:
    purchases: list[tuple[Any, ...]]
    orders: list[tuple[Any, ...]]
    lines: list[tuple[Any, ...]]
    payments: list[tuple[Any, ...]]
    counters: list[tuple[Any, ...]]

    def add(
        self,
        year: Year,
        show: Show,
        crowd: Crowd,
        visit: int,
        at: datetime,
        items: list[tuple[str, Good, int]],
        purchase_id: int,
        order_id: int,
    ) -> None:
        draw = year.random.random(5)
        year.order_number += 1
        # What is pinned sells; else anything of the line-up.
        slot = min(int((at - show.starts).total_seconds() / show.seconds * len(items)), len(items) - 1)
        pinned = draw[0] < 0.6
        code, good, pin = items[slot if pinned else int(draw[1] * len(items))]
        quantity = 1 + int(draw[2] ** 3 * 8)
        total = good.price * quantity
        state = _state(draw[3], at)
        method = "cod" if draw[4] < 0.75 else "vietqr"
        paid = state == "delivered" or (method == "vietqr" and state in ("placed", "shipped"))
        number = year.order_number
        self.purchases.append((purchase_id, f"PHN{number:07}", at))
        self.orders.append(
            (
                *(order_id, f"NM{show.commune}{number:07}", "minhhoa", purchase_id, good.seller_id, show.id),
                *(pin if pinned else None, state, total, method, "Người mua (minh hoạ)"),
                *(f"0877{crowd.visitors[visit] % 1_000_000:06}", "66", show.commune, "thôn 1", at),
                *(f"n{crowd.visitors[visit]:011}", SOURCES[crowd.sources[visit]], True, at),
            )
        )
        self.lines.append(
            (order_id, good.grade_id, code, good.product, good.grade, good.unit, good.price, quantity, total)
        )
        dead = state in ("cancelled", "expired", "refused")
        self.payments.append(
            (
                order_id,
                method,
                "cancelled" if dead else "paid" if paid else "due",
                total,
                total if paid and not dead else 0,
                at,
            )
        )

    async def write(self, db: asyncpg.Connection) -> None:
        columns = {
            "purchase": ("id", "code", "placed_at"),
            "order": (
                *(
                    "id",
                    "code",
                    "key",
                    "purchase_id",
                    "seller_id",
                    "live_session_id",
                    "pin_id",
                    "state",
                    "total",
                ),
                *("payment_method", "buyer_name", "buyer_phone", "province_code", "commune_code", "street"),
                *("consent_at", "visitor", "source", "demo", "placed_at"),
            ),
            "order_line": (
                *("order_id", "grade_id", "item_code", "product_name", "grade_name", "unit", "unit_price"),
                *("quantity", "amount"),
            ),
            "payment": ("order_id", "method", "state", "amount", "paid", "created_at"),
        }
        for table, rows in zip(
            columns, (self.purchases, self.orders, self.lines, self.payments), strict=True
        ):
            await db.copy_records_to_table(table, records=rows, columns=columns[table])


def _state(draw: float, at: datetime) -> str:
    if clock.now() - at < timedelta(days=5):
        return "placed" if draw < 0.5 else "shipped" if draw < 0.95 else "cancelled"
    return (
        "delivered"
        if draw < 0.86
        else "refused"
        if draw < 0.92
        else "cancelled"
        if draw < 0.97
        else "expired"
    )


# ---- the command


async def make(
    database_url: str, visits: int, session_count: int, orders: int, seed: int, say: Progress
) -> None:
    sessions.configure(database_url, pool_size=2)
    try:
        await loader.seed(progress=say)
        connection = await sessions.connect_raw()
        try:
            await Year(connection, seed, say).make(visits, session_count, orders)
        finally:
            await connection.close()
        await rollup.rebuild(progress=say)
    finally:
        await sessions.close()


@click.command()
@click.option(
    "--data-dir", type=click.Path(path_type=Path), default=Path(".chophien-year"), show_default=True
)
@click.option("--visits", default=2_000_000, show_default=True)
@click.option("--sessions", "session_count", default=5_000, show_default=True)
@click.option("--orders", type=int, help="Without: 3 for 200 visits.")
@click.option("--seed", default=66, show_default=True)
def main(data_dir: Path, visits: int, session_count: int, orders: int | None, seed: int) -> None:
    """Make a year of sessions, visits and orders, and roll it up."""

    def say(line: str) -> None:
        click.echo(f"» {line}", err=True)

    with market_settings(data_dir, report=say) as settings:
        from commerce.core import migrate

        migrate.upgrade(settings.database_url)
        orders = visits * 3 // 200 if orders is None else orders
        asyncio.run(make(settings.database_url, visits, session_count, orders, seed, say))


if __name__ == "__main__":
    main()
