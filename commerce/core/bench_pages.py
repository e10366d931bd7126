"""How quickly the session page is answered at a steady rate, beside the cheapest answer of the same servers.

Requests come at a fixed rate and are timed from the moment they were due. `floor_p99_ms` is /healthz asked in
the same way: routing and the socket without a page.
"""

from __future__ import annotations

import contextlib
import gzip
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import uvloop

from commerce.core import load
from commerce.core.embedded import temporary_folder
from commerce.core.supervisor import Market, Plan

CONNECTIONS = 64  # keep-alive connections that share the rate
DEMO_SESSION = "EAKNUEC"


def main(
    url: str | None = None,
    *,
    session: str = DEMO_SESSION,
    per_second: float = 500,
    seconds: float = 10,
    web: int = 2,
    port: int = 8000,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """The figures of the contract, and the page's size. Without `url` a demo market is started."""
    with _market(url, web, port, report) as address:
        return uvloop.run(_measure(address, session, per_second, seconds))


@contextlib.contextmanager
def _market(url: str | None, web: int, port: int, report: Callable[[str], None]) -> Iterator[str]:
    if url is not None:
        yield url.rstrip("/")
        return
    with temporary_folder() as folder:
        plan = Plan(folder, port, web=web, gateways=1, workers=1, video=0, demo=True)
        with Market(plan, report=report) as market:
            yield market.url


async def _measure(url: str, session: str, per_second: float, seconds: float) -> dict[str, Any]:
    page = await _ask(url, f"/live/{session}", per_second, seconds)
    floor = await _ask(url, "/healthz", per_second, min(5.0, seconds))
    good = page.statuses[200]
    return {
        "requests_per_s": round(sum(page.statuses.values()) / page.elapsed, 1),
        "p50_ms": page.percentile_ms(50),
        "p99_ms": page.percentile_ms(99),
        "errors": sum(page.statuses.values()) - good,
        "floor_p99_ms": floor.percentile_ms(99),
        **_weigh(f"{url}/live/{session}"),
    }


async def _ask(url: str, path: str, per_second: float, seconds: float) -> load.Tally:
    host = url.split("//", 1)[1]
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n".encode()
    return await load.run(
        url, lambda: request, concurrency=CONNECTIONS, seconds=seconds, warm_up=2, per_second=per_second
    )


def _weigh(address: str) -> dict[str, float]:
    with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - http only
        body = answer.read()
    return {"page_kb": round(len(body) / 1000, 1), "page_gzip_kb": round(len(gzip.compress(body)) / 1000, 1)}
