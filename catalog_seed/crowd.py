"""The demo's public: `python -m catalog_seed.crowd --url http://127.0.0.1:8000 --crowd 0.02`.

People come, watch for as long as people do, comment, tap, order and go, through nothing but the public HTTP
interface and the live sockets, as pages do. They arrive by the curve of the model case, 150,000 views over a
session of two hours, scaled by `--crowd`; when the two hours are over they begin again.

The crowd goes to demo sessions only, so nothing it does can be mistaken for the real thing, and says in every
request that it is none (`X-Demo-Crowd`). Whatever is away for a moment (web, gateway, the whole market) is
asked again later, an order under its own idempotency key, as a careful page would.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import click
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from catalog_seed import chatter

MODEL_VIEWS = 150_000
MODEL_LASTS_S = 7_200
# (part of the session gone, arrivals compared with the average): a rush, a long middle, a slow end.
CURVE = ((0.0, 0.8), (0.06, 1.9), (0.2, 1.5), (0.45, 1.0), (0.8, 0.7), (1.0, 0.4))
GLANCE = 0.4  # of the visits last seconds only: people scroll on
GLANCE_S = 6
STAY_S = 110  # median of the others; a few stay for the whole session
LONGEST_STAY_S = 3_600
RUSH_S = 10  # at the start, half of those who would be there come within this time
TALKS = 0.22  # of those who stay write something
ORDERS = 0.033  # of all visits order: 60 tonnes in parcels of a few kilos, and traders
ORDER_EVERY_S = 8  # a small crowd orders more often, so that a newcomer soon sees counts move
RETURNS = 0.08  # of the visits are people who were there before
ELSEWHERE = (
    ("79", "Phường Bến Thành"),
    ("79", "Xã Củ Chi"),
    ("01", "Phường Hoàn Kiếm"),
    ("48", "Phường Hải Châu"),
    ("92", "Phường Ninh Kiều"),
    ("68", "Phường Xuân Hương - Đà Lạt"),
)
SOURCES = {"zalo": 35, "facebook": 25, "tiktok": 20, "direct": 15, "qr": 5}
OVER = (4404, 4410)  # closing codes: nothing to come back for
HEADERS = {"X-Demo-Crowd": "1", "User-Agent": "chophien-demo-crowd"}

Session = dict[str, Any]


def arrivals_per_s(scale: float, elapsed_s: float) -> float:
    """How many come in a second, at this time of the crowd's life."""
    gone = (elapsed_s % MODEL_LASTS_S) / MODEL_LASTS_S
    before, after = next(pair for pair in pairwise(CURVE) if gone <= pair[1][0])
    part = (gone - before[0]) / (after[0] - before[0])
    height = before[1] + (after[1] - before[1]) * part
    return scale * MODEL_VIEWS / MODEL_LASTS_S * height / _AVERAGE


_AVERAGE = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(CURVE))


def order_share(scale: float) -> float:
    """Which part of the visits orders."""
    visits_per_s = scale * MODEL_VIEWS / MODEL_LASTS_S
    return max(ORDERS, min(0.4, 1 / (ORDER_EVERY_S * visits_per_s)))


@dataclass(frozen=True, slots=True)
class Guest:
    """Who comes and what for."""

    visitor: str
    name: str
    phone: str
    source: str
    stay_s: float
    remarks: int
    buys: bool

    @classmethod
    def come(cls, dice: random.Random, share_of_orders: float, visitor: str | None = None) -> Guest:
        glance = dice.random() < GLANCE
        stay = dice.expovariate(1 / GLANCE_S) if glance else dice.lognormvariate(0, 0.9) * STAY_S
        buys = not glance and dice.random() < share_of_orders / (1 - GLANCE)
        return cls(
            visitor=visitor or f"demo{dice.getrandbits(60):015x}",
            name=dice.choice(chatter.NAMES),
            phone=f"0900{dice.randrange(100_000, 1_000_000)}",
            source=dice.choices(list(SOURCES), list(SOURCES.values()))[0],
            stay_s=min(max(stay, 45.0 if buys else 2.0), LONGEST_STAY_S),
            remarks=dice.choice((1, 1, 2, 3)) if not glance and dice.random() < TALKS else 0,
            buys=buys,
        )


@dataclass
class Crowd:
    url: str
    scale: float
    dice: random.Random = field(default_factory=random.Random)
    tell: Callable[[str], None] = lambda line: None
    counts: Counter[str] = field(default_factory=Counter)
    here: int = 0
    """Sockets open now."""
    _known: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    _communes: list[str] = field(default_factory=list)
    _visits: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set: send guests to whatever demo session is on air."""
        limits = httpx.Limits(max_connections=40, max_keepalive_connections=20, keepalive_expiry=10)
        async with httpx.AsyncClient(
            base_url=self.url, headers=HEADERS, limits=limits, timeout=15, trust_env=False
        ) as self.http:
            reporter = asyncio.create_task(self._report())
            try:
                await self._send_guests(stop)
            finally:
                reporter.cancel()
                for visit in self._visits:
                    visit.cancel()
                await asyncio.gather(reporter, *self._visits, return_exceptions=True)

    async def _send_guests(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        began = asked = loop.time()
        on_air = await self._on_air()
        for _ in range(self._at_the_door()):
            self._visit(on_air, after_s=self.dice.uniform(0, RUSH_S))
        while not stop.is_set():
            pause = self.dice.expovariate(arrivals_per_s(self.scale, loop.time() - began))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(pause, 60))
                return
            if loop.time() - asked > 5 or not on_air:
                on_air, asked = await self._on_air(), loop.time()
            self._visit(on_air)

    def _at_the_door(self) -> int:
        return round(arrivals_per_s(self.scale, 60) * STAY_S / 2)

    async def _on_air(self) -> list[str]:
        """Codes of the demo sessions that are live; real ones are none of the crowd's business."""
        answer = await self._ask("GET", "/api/v1/live-sessions?state=live")
        if answer is None or answer.status_code != 200:
            return []
        return [session["code"] for session in answer.json() if session["demo"] is True]

    def _visit(self, on_air: list[str], *, after_s: float = 0) -> None:
        if not on_air:
            return
        again = self._known and self.dice.random() < RETURNS
        guest = Guest.come(
            self.dice, order_share(self.scale), self.dice.choice(self._known) if again else None
        )
        self._known.append(guest.visitor)
        task = asyncio.create_task(self._come_and_go(guest, self.dice.choice(on_air), after_s))
        self._visits.add(task)
        task.add_done_callback(self._visits.discard)

    async def _come_and_go(self, guest: Guest, code: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        session = await self._open(guest, code)
        if session is None or session["demo"] is not True or not session["live_url"]:
            return
        self.counts["views"] += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(guest.stay_s):
                watching = asyncio.create_task(self._watch(guest, code, session["live_url"]))
                try:
                    await self._take_part(guest, session)
                    await watching
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)

    async def _open(self, guest: Guest, code: str) -> Session | None:
        answer = await self._ask("GET", f"/api/v1/live-sessions/{code}?s={guest.source}", guest)
        return answer.json() if answer is not None and answer.status_code == 200 else None

    # ---- watching

    async def _watch(self, guest: Guest, code: str, live_url: str) -> None:
        """The socket, opened again with jitter whenever it breaks, until the session is over."""
        while True:
            try:
                async with connect(
                    live_url,
                    additional_headers=HEADERS,
                    compression=None,
                    open_timeout=10,
                    close_timeout=1,
                    proxy=None,
                ) as socket:
                    self.here += 1
                    try:
                        while True:
                            await socket.recv()
                            self.counts["frames"] += 1
                    except ConnectionClosed:
                        pass
                    finally:
                        self.here -= 1
                    if socket.close_code in OVER:
                        return
            except (OSError, WebSocketException, TimeoutError):
                pass
            self.counts["reconnects"] += 1
            await asyncio.sleep(self.dice.uniform(0.5, 4))
            answer = await self._ask("GET", f"/api/v1/live-sessions/{code}/ticket?s={guest.source}", guest)
            if answer is not None and answer.status_code == 200:
                live_url = answer.json()["live_url"]
                if not live_url:
                    return

    # ---- taking part

    async def _take_part(self, guest: Guest, session: Session) -> None:
        """What this guest does besides watching, at moments spread over the stay."""
        await asyncio.sleep(self.dice.uniform(0.5, 2))
        items = [item for item in session["lineup"] if item["stock"] > 0 and item["unit"] != "tonne"]
        if not items:
            return
        seen = self.dice.sample(items, min(len(items), self.dice.randint(1, 4)))
        await self._beacon(guest, session, "impression", "", *(item["code"] for item in seen))
        moments = [(self.dice.uniform(2, guest.stay_s * 0.9), self._comment) for _ in range(guest.remarks)]
        if guest.buys:
            moments.append((self.dice.uniform(4, min(guest.stay_s * 0.7, 240)), self._buy))
        elif self.dice.random() < 0.25:
            moments.append((self.dice.uniform(2, guest.stay_s), self._tap))
        passed = 0.0
        for moment, act in sorted(moments, key=lambda one: one[0]):
            await asyncio.sleep(max(0.0, moment - passed))
            passed = max(passed, moment)
            await act(guest, session, self._choose(session, items))

    def _choose(self, session: Session, items: list[dict[str, Any]]) -> dict[str, Any]:
        """What is pinned draws most."""
        pinned = (session["snapshot"].get("pinned") or {}).get("code")
        weights = [8 if item["code"] == pinned else 3 if item.get("deal") else 1 for item in items]
        return self.dice.choices(items, weights)[0]

    async def _beacon(self, guest: Guest, session: Session, kind: str, *products: str) -> None:
        body = [{"kind": kind, "product": product} for product in products]
        await self._ask("POST", f"/api/v1/live-sessions/{session['code']}/events", guest, json=body)

    async def _tap(self, guest: Guest, session: Session, item: dict[str, Any]) -> None:
        await self._beacon(guest, session, "click", item["code"])

    async def _comment(self, guest: Guest, session: Session, item: dict[str, Any]) -> None:
        if self.dice.random() < 0.25:
            quantity = self._quantity(item)
            text = chatter.comment_order(self.dice, item["code"], item["unit"], quantity, guest.phone)
        else:
            text = chatter.remark(self.dice)
        path = f"/api/v1/live-sessions/{session['code']}/comments"
        answer = await self._ask("POST", path, guest, json={"name": guest.name, "text": text})
        if answer is not None and answer.status_code == 202:
            self.counts["comments"] += 1

    async def _buy(self, guest: Guest, session: Session, item: dict[str, Any]) -> None:
        """Tap, basket, form, send: with the prices of this moment, and the same key until an answer comes."""
        await self._beacon(guest, session, "click", item["code"])
        fresh = await self._open(guest, session["code"])
        lines = [line for line in (fresh or session)["lineup"] if line["code"] == item["code"]]
        if not lines or not lines[0]["stock"]:
            return
        quantity = min(self._quantity(lines[0]), lines[0]["stock"])
        await self._beacon(guest, session, "basket", item["code"])
        await asyncio.sleep(self.dice.uniform(3, 12))
        price = (lines[0]["deal"] or lines[0])["price"]
        order = await self._order(guest, item["code"], quantity, price * quantity)
        if order is not None:
            await self._send_order(guest, session["code"], order)

    def _quantity(self, item: dict[str, Any]) -> int:
        return self.dice.choice((1, 1, 2, 2, 3, 4, 5, 8) if item["unit"] == "kg" else (1, 1, 1, 2, 3))

    async def _order(self, guest: Guest, code: str, quantity: int, total: int) -> dict[str, Any] | None:
        province, commune = self.dice.choice(ELSEWHERE)
        if self.dice.random() < 0.6:
            if not self._communes:
                answer = await self._ask("GET", "/api/v1/communes")
                if answer is None or answer.status_code != 200:
                    return None
                self._communes = [one["code"] for one in answer.json()]
            province, commune = "66", self.dice.choice(self._communes)
        return {
            "lines": [{"product": code, "quantity": quantity}],
            "buyer": {"name": f"{guest.name} (minh hoạ)", "phone": guest.phone},
            "address": {
                "province": province,
                "commune": commune,
                "street": f"Thôn {self.dice.randint(1, 12)} (minh hoạ)",
            },
            "payment": "cod" if self.dice.random() < 0.9 else "vietqr",
            "shown_total": total,
            "consent": True,
        }

    async def _send_order(self, guest: Guest, code: str, order: dict[str, Any]) -> None:
        path = f"/api/v1/live-sessions/{code}/orders"
        key = str(uuid.uuid4())
        for attempt in range(6):
            answer = await self._ask("POST", path, guest, json=order, headers={"Idempotency-Key": key})
            if answer is not None and answer.status_code == 201:
                self.counts["orders"] += 1
                return
            if answer is not None and answer.status_code == 409 and answer.json()["code"] == "total_changed":
                # Another price, another order: seen, agreed to, sent under a key of its own.
                order, key = order | {"shown_total": answer.json()["total"]}, str(uuid.uuid4())
            elif answer is not None and answer.status_code < 500:
                self.counts[f"refused_{answer.status_code}"] += 1
                return
            await asyncio.sleep(self.dice.uniform(0.5, 1.5) * (attempt + 1))

    # ---- the line

    async def _ask(
        self, method: str, path: str, guest: Guest | None = None, **options: Any
    ) -> httpx.Response | None:
        """The answer, or None when nobody answered."""
        headers = options.pop("headers", {})
        if guest is not None:
            headers = {**headers, "Cookie": f"visitor={guest.visitor}"}
        try:
            return await self.http.request(method, path, headers=headers, **options)
        except httpx.HTTPError:
            self.counts["unanswered"] += 1
            return None

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(30)
            said = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
            self.tell(f"crowd: {self.here} here; so far {said or 'nobody'}")


@click.command()
@click.option("--url", required=True, help="The market's address: http://127.0.0.1:8000")
@click.option(
    "--crowd",
    "--scale",
    "scale",
    type=click.FloatRange(0, 10, min_open=True),
    default=0.02,
    show_default=True,
    help="1 is the model case: 150,000 views in two hours.",
)
@click.option("--seed", type=int, help="The same dice every time.")
def main(url: str, scale: float, seed: int | None) -> None:
    """Let a simulated public visit the demo sessions of a market until SIGTERM."""
    crowd = Crowd(url.rstrip("/"), scale, random.Random(seed), lambda line: click.echo(line, err=True))  # noqa: S311

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await crowd.run(stop)

    asyncio.run(run())


if __name__ == "__main__":
    main()
