"""How fast the province's pages answer on a made year: `python -m tests.load.province_pages --data-dir D`.

Makes no load: one page after another, as one person reads them, through the whole application but no socket.
The folder was filled by `python -m catalog_seed.year`. Prints one line a page and one JSON line at the end.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, cast

import click
import httpx
from sqlalchemy import text

from commerce.analytics import rollup
from commerce.app import create_app
from commerce.core import garbage
from commerce.core.db import sessions
from commerce.core.reach import market_settings
from commerce.core.roles import Role
from commerce.core.settings import Settings
from tests import factories

PAGES = {
    "home": "/province",
    "home, a year": "/province?from={year_ago}&to={today}",
    "home, one industry": "/province?industry=food",
    "home, one product": "/province?product=sau+rieng&from={year_ago}&to={today}",
    "compare": "/province/compare?c={commune}&c=24490&c=24121&from={year_ago}&to={today}",
    "commune": "/province/communes/{commune}?from={year_ago}&to={today}",
    "session": "/province/sessions/{big}",
    "rows behind": "/province/sessions/{big}/rows?what=visits&start=5000",
    "forecast": "/province/forecast",
    "reports": "/province/reports",
    "residents": "/province/residents",
    "definitions": "/province/definitions",
    "store": "/province/store",
}


def spread(seconds: list[float]) -> dict[str, float]:
    found = sorted(seconds)
    return {
        "p50_ms": round(found[len(found) // 2] * 1000, 1),
        "p95_ms": round(found[min(len(found) - 1, int(len(found) * 0.95))] * 1000, 1),
    }


async def measure(settings: Settings, rounds: int) -> dict[str, Any]:
    app = create_app(settings)
    transport = httpx.ASGITransport(cast(Any, app))
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://market.test") as client,
    ):
        garbage.settle()  # as a web process does once it is put together
        async with sessions.begin() as db:
            await db.execute(text("DELETE FROM sign_in"))  # of measurements before this one
            phone = f"09000{time.time_ns() % 100_000:05}"
            token = await factories.token(db, await factories.person(db, Role.PROVINCE, phone=phone))
            big = (
                await db.execute(
                    text(
                        "SELECT s.code, s.id, r.commune_code, r.views, r.day FROM session_rollup r"
                        " JOIN live_session s ON s.id = r.live_session_id ORDER BY r.views DESC LIMIT 1"
                    )
                )
            ).one()
            last = await db.scalar(text("SELECT max(day) FROM session_rollup"))
            visits = await db.scalar(text("SELECT sum(views) FROM session_rollup"))
        assert last is not None
        names = {
            "big": big.code,
            "commune": big.commune_code,
            "today": last.isoformat(),
            "year_ago": last.replace(year=last.year - 1).isoformat(),
        }
        client.headers["Authorization"] = f"Bearer {token}"
        found: dict[str, Any] = {"views": int(visits or 0)}
        for name, path in PAGES.items():
            taken = []
            for number in range(rounds + 2):
                began = time.perf_counter()
                answer = await client.get(path.format(**names))
                if number >= 2:  # the first ones compile templates and draw the map
                    taken.append(time.perf_counter() - began)
                assert answer.status_code == 200, (name, answer.status_code, answer.text[:300])
            found[name] = spread(taken)
            click.echo(f"{name:<20} {found[name]}")
        began = time.perf_counter()
        await rollup.roll_up_session(big.id)
        found["rollup"] = {"views": big.views, "s": round(time.perf_counter() - began, 1)}
    return found


@click.command()
@click.option(
    "--data-dir", type=click.Path(path_type=Path), default=Path(".chophien-year"), show_default=True
)
@click.option("--rounds", default=40, show_default=True)
def main(data_dir: Path, rounds: int) -> None:
    with market_settings(data_dir) as settings:
        click.echo(json.dumps(asyncio.run(measure(settings, rounds))))


if __name__ == "__main__":
    main()
