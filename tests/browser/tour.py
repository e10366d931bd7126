"""Every page of the market, and somebody who may open it. `test_reach.py` opens them all and compares this
list with the application's routes, so that a new page cannot be forgotten."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.async_api import Page

from tests.browser.conftest import Market, last_link

SESSION = "EAKNUEC"
PASSWORD = "chophien-demo"
HOST, HELPER, OFFICER, SELLER, PROVINCE, ADMIN = (f"090000000{n}" for n in range(1, 7))


@dataclass(frozen=True)
class Stop:
    route: str
    """As the application knows it, without the types of its parameters; an address that no route takes
    stands for the page of errors."""
    address: str = ""
    """With names of `lived_in`'s answer in braces. Empty: the route itself."""
    links_at: str = ""
    """Instead: the page whose first link that fits the route (a number in the braces) is followed."""

    async def open(self, page: Page, made: dict[str, str]) -> None:
        if self.links_at:
            await page.goto(self.links_at)
            wanted = re.compile(re.sub(r"\{\w+\}", r"\\d+", self.route))
            links = await page.locator("a").evaluate_all("all => all.map((one) => one.pathname)")
            address = next(path for path in links if wanted.fullmatch(path))
        else:
            address = (self.address or self.route).format_map(made)
        answer = await page.goto(address)
        assert answer is not None
        assert answer.status == (200 if self.route else 404), (address, answer.status)


PUBLIC = "public"
TOUR: dict[str, list[Stop]] = {
    PUBLIC: [
        Stop("/"),
        Stop("/c/{slug}", "/c/ea-knuec"),
        Stop("/search", "/search?q=sau+rieng"),
        Stop("/search", "/search?q=khong-co-gi"),
        Stop("/live/{code}", f"/live/{SESSION}"),
        Stop("/live/{code}/wholesale", f"/live/{SESSION}/wholesale"),
        Stop("/live/{code}/complain", f"/live/{SESSION}/complain"),
        Stop("/p/{code}", "/p/{product}"),
        Stop("/p/{code}/wholesale", "/p/{product}/wholesale"),
        Stop("/near", "/near?commune=24505"),
        Stop("/orders/{code}", "/orders/{order}?key={key}"),
        Stop("/orders/{code}", "/orders/{transfer}?key={transfer_key}"),
        Stop("/orders/{code}/complain", "/orders/{order}/complain?key={key}"),
        Stop("/complaints/{code}", "{complaint}"),
        Stop("/confirm/{token}", "{confirm}"),
        Stop("/login"),
        Stop("/rules"),
        Stop("/rules/ranking"),
        Stop("/policies/{policy}/{version}", "/policies/rules/2026-11-23"),
        Stop("/privacy"),
        Stop("/privacy/request"),
        Stop("/offline"),
        Stop("/design"),
        Stop("", "/khong-co"),
    ],
    HOST: [
        Stop("/host"),
        Stop("/host/new"),
        Stop("/host/{code}", f"/host/{SESSION}"),
        Stop("/host/{code}/lineup", f"/host/{SESSION}/lineup"),
        Stop("/account"),
    ],
    HELPER: [Stop("/helper"), Stop("/helper/{code}", f"/helper/{SESSION}")],
    OFFICER: [
        Stop("/office"),
        Stop("/office/listings"),
        Stop("/office/sellers"),
        Stop("/office/assist"),
        Stop("/office/assist/new"),
        Stop("/office/assist/{seller}", "{stall}"),
        Stop("/office/ocop"),
        Stop("/office/schedule"),
        Stop("/office/complaints"),
        Stop("/complaints/{code}/desk", "/complaints/{complaint_code}/desk"),
        Stop("/office/parcels"),
        Stop("/office/money"),
        Stop("/office/money/setup"),
        Stop("/office/money/orders/{code}", "/office/money/orders/{transfer}"),
        Stop("/office/book"),
        Stop("/office/recordings"),
        Stop("/office/enquiries"),
        Stop("/office/data-requests"),
        Stop("/office/networks"),
        Stop("/accounts/{person}/identity", links_at="/accounts"),
        Stop("/province/reports/{number}", links_at="/province/reports"),
    ],
    SELLER: [
        Stop("/seller"),
        Stop("/seller/new"),
        Stop("/seller/products/{code}/edit", "/seller/products/{product}/edit"),
        Stop("/seller/parcels"),
        Stop("/seller/days/{code}", "/seller/days/{product}"),
        Stop("/seller/money"),
        Stop("/seller/money/setup"),
        Stop("/seller/money/orders/{code}", "/seller/money/orders/{transfer}"),
        Stop("/seller/book"),
        Stop("/seller/complaints"),
        Stop("/privacy/data", "{data}"),
    ],
    PROVINCE: [
        Stop("/province"),
        Stop("/province/communes/{code}", "/province/communes/24505"),
        Stop("/province/sessions/{code}", f"/province/sessions/{SESSION}"),
        Stop("/province/compare", "/province/compare?c=24505&c=24169"),
        Stop("/province/residents"),
        Stop("/province/reports"),
        Stop("/province/forecast"),
        Stop("/province/rules"),
        Stop("/province/definitions"),
        Stop("/province/store"),
        Stop("/province/book"),
        Stop("/province/tax-rates"),
        Stop("/accounts"),
    ],
    ADMIN: [Stop("/admin")],
}

NO_PAGES = {
    # parts that a page fetches for itself
    "/followed",
    "/helper/{code}/networks",
    "/host/{code}/money",
    "/host/{code}/outlets",
    "/orders/{code}/now",
    "/province/live",
    "/province/reports/due",
    "/province/sessions/{code}/rows",
    # they lead on to somewhere else
    "/language/{lang}",
    "/office/networks/{network}/back",
    "/office/networks/{network}/connect",
    "/orders/{code}/pay",
    # files and pictures
    "/c/{slug}/calendar.ics",
    "/complaints/{code}/photos/{name}",
    "/live/{code}/calendar.ics",
    "/media/photos/{name}",
    "/office/book/{name}",
    "/office/parcels/{day}/{name}",
    "/orders/{code}/qr.png",
    "/orders/{code}/summary.pdf",
    "/privacy/data.json",
    "/province/book/{name}",
    "/province/communes/{code}/tables/{name}",
    "/province/compare/tables/{name}",
    "/province/forecast/tables/{name}",
    "/province/reports/tables/{name}",
    "/province/reports/{number}/{name}",
    "/province/sessions/{code}/outside/{number}",
    "/province/sessions/{code}/still/{minute}",
    "/province/sessions/{code}/tables/{name}",
    "/province/store/{name}",
    "/province/{name}",
    "/qr.svg",
    "/seller/book/{name}",
    "/seller/papers/{paper_id}",
    "/seller/parcels/{day}/{name}",
    "/static/{name}",
    # for machines
    "/healthz",
    "/manifest.webmanifest",
    "/metrics",
    "/readyz",
    "/robots.txt",
    "/sw.js",
}


async def lived_in(market: Market) -> dict[str, str]:
    """What pages need to exist: orders of both ways to pay, a complaint, a stall opened for a farmer with the
    link in the message, a data request; and their addresses by the names of the tour."""
    async with httpx.AsyncClient(base_url=market.url, timeout=30) as buyer:
        detail = (await buyer.get(f"/api/v1/live-sessions/{SESSION}")).raise_for_status().json()
        cash, transfer = [await _ordered(buyer, way) for way in ("cod", "vietqr")]
        form = {"key": cash["key"], "reason": "spoiled", "words": "Một trái bị sượng."}
        said = await buyer.post(f"/orders/{cash['code']}/complain", data=form)
        assert said.status_code == 303, said.text
        complaint = said.headers["location"]
    async with httpx.AsyncClient(base_url=market.url, timeout=30) as office:
        await _sign_in(office, OFFICER)
        household = {"name": "Hộ Ama Tour", "kind": "household", "phone": "0905111333", "address": "Buôn Sút"}
        opened = await office.post("/office/assist/new", data=household)
        assert opened.status_code == 303, opened.text
        stall = opened.headers["location"]
        assert "sent=yes" in (await office.post(f"{stall}/ask")).headers["location"]
        confirm = last_link(market)
    async with httpx.AsyncClient(base_url=market.url, timeout=30) as farmer:
        await _sign_in(farmer, SELLER)
        asked = await farmer.post("/privacy/request/mine", data={"wish": "see"})
        assert asked.status_code == 303, asked.text
    return {
        "product": detail["lineup"][0]["product_code"],
        "order": cash["code"],
        "key": cash["key"],
        "transfer": transfer["code"],
        "transfer_key": transfer["key"],
        "complaint": complaint,
        "complaint_code": complaint.removeprefix("/complaints/").split("?")[0],
        "stall": stall,
        "confirm": confirm,
        "data": asked.headers["location"],
    }


async def _sign_in(client: httpx.AsyncClient, number: str) -> None:
    answer = await client.post("/api/v1/login", json={"phone": number, "password": PASSWORD})
    client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['token']}"


async def _ordered(buyer: httpx.AsyncClient, way: str) -> dict[str, Any]:
    """One kilogram of A1 at today's price."""
    body: dict[str, Any] = {
        "lines": [{"product": "A1", "quantity": 1}],
        "buyer": {"name": "Trần Thị Nga", "phone": "0913000009"},
        "address": {"province": "66", "commune": "24505", "street": "buôn Kniêr, nhà 12"},
        "payment": way,
        "shown_total": 0,
        "consent": True,
    }
    for _ in range(2):  # the first answer tells what it costs
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        answer = await buyer.post(f"/api/v1/live-sessions/{SESSION}/orders", json=body, headers=headers)
        if answer.status_code == 201:
            break
        body["shown_total"] = answer.json()["total"]
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["orders"][0]
    return made
