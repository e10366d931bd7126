"""How good the forecast is on a market's own past: `python -m tests.analytics.backtest_report --data-dir D`.

Every session of the last half year, told only from those before it, and every product's last twelve weeks;
beside the plain ways. Prints a table as README has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import click

from commerce.analytics import forecast
from commerce.analytics.forecast import Score
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.reach import market_settings

SESSIONS_OF = timedelta(days=182)
WEEKS = 12


async def scores(database_url: str) -> dict[str, Sequence[Score]]:
    sessions.configure(database_url, pool_size=1)
    try:
        async with sessions.read() as db:
            past = await forecast.past_sessions(db, clock.today())
            weeks, _ = await forecast.weeks_of_products(db, clock.today())
    finally:
        await sessions.close()
    made: dict[str, Sequence[Score]] = {
        kind: forecast.backtest(rows, clock.today() - SESSIONS_OF) for kind, rows in past.items()
    }
    return made | {"units of a product in a week": forecast.backtest_weeks(weeks.values(), WEEKS)}


@click.command()
@click.option(
    "--data-dir", type=click.Path(path_type=Path), default=Path(".chophien-year"), show_default=True
)
def main(data_dir: Path) -> None:
    with market_settings(data_dir) as settings:
        found = asyncio.run(scores(settings.database_url))
    click.echo("| of | way | cases | error of the logarithm | WAPE | inside the 80 % interval |")
    click.echo("|---|---|---|---|---|---|")
    for what, rows in found.items():
        for one in rows:
            inside = "" if one.inside is None else f"{one.inside:.0%}"
            click.echo(
                f"| {what} | {one.model} | {one.cases} | {one.log_error:.3f} | {one.wape:.3f} | {inside} |"
            )


if __name__ == "__main__":
    main()
