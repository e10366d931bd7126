"""What PostgreSQL does alone: the statements of one order, one transaction an order, sent by its own pgbench.

`place` is listened to while it places one order (which is then undone), so these are the desk's statements
with the desk's values; only what must differ from order to order is made anew. pgbench prepares them once a
connection and costs a small part of what any Python client does: no floor of ours could be higher. On a hot
row more connections only wait for each other, so several numbers of them are tried and the best one counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import uuid
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from commerce.core.db import sessions
from commerce.core.embedded.postgres import bin_folder
from commerce.core.settings import Settings
from commerce.orders import placing
from commerce.orders.desk import SESSION_SETTINGS, desk_engine
from commerce.orders.queries import read_lineup
from commerce.orders.service import body_hash, check
from commerce.orders.wire import OrderRequest

CONNECTIONS = (1, 2, 4, 8)
NAMED = cast(Any, postgresql.dialect)(
    paramstyle="named"
)  # `:name` is how pgbench writes its variables as well
FRESH = {
    **dict.fromkeys(("o_id", "l_order", "orders"), "'{' || o || '}'"),
    **dict.fromkeys(("p_id", "o_purchase"), "'{' || p || '}'"),
    **dict.fromkeys(("keys", "k_key"), "'{' || md5(random()::text) || '}'"),
    "o_code": "'{DL' || o || '}'",
    "p_code": "'{PH' || p || '}'",
}
"""What no two orders share, by the name of its parameter; `o` and `p` are the ids of order and purchase."""

SETTINGS = " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items() if " " not in value)

_TPS = re.compile(r"tps = ([\d.]+)")


class Listener:
    """Stands where `place` expects its connection; keeps what passes."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.statements: list[str] = []
        self.values: dict[str, str] = {}

    async def execute(self, statement: Any, values: Mapping[str, Any]) -> Any:
        if statement is not placing._IDS:  # the line that makes what is fresh does the same
            self.statements.append(str(statement.compile(dialect=NAMED)).strip() + ";")
            self.values |= {name: literal(value) for name, value in values.items() if name not in FRESH}
        return await self.connection.execute(statement, values)

    async def scalar(self, statement: Any, values: Mapping[str, Any]) -> Any:
        return (await self.execute(statement, values)).scalar()


def literal(value: Any) -> str:
    """As PostgreSQL reads it in a text parameter."""
    if isinstance(value, list):
        return "{" + ",".join(_element(one) for one in value) + "}"
    return value.isoformat() if isinstance(value, date) else str(value)


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    escaped = literal(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


async def listen(settings: Settings, session: str, order: OrderRequest) -> tuple[str, dict[str, str]]:
    """(pgbench script of one order, values of its variables)."""
    lineup = await read_lineup(session)
    basket = check(settings, order, lineup, frozenset({order.address.commune}), trusted=False)
    basket.idempotency_key = uuid.uuid4().hex
    basket.body_hash = body_hash(session, order)
    engine = desk_engine(settings.database_url)
    try:
        async with engine.connect() as connection:
            listener = Listener(connection)
            outcomes = await placing.place(cast(AsyncConnection, listener), [basket])
            if isinstance(outcomes[0], Exception):
                raise outcomes[0]
            await connection.rollback()
    finally:
        await engine.dispose()
    fresh = ", ".join(f"{expression} AS {name}" for name, expression in FRESH.items())
    ids = (
        "SELECT nextval(pg_get_serial_sequence('purchase', 'id')) AS p,"
        " nextval(pg_get_serial_sequence('\"order\"', 'id')) AS o"
    )
    head = f"SELECT {fresh} FROM ({ids}) ids \\gset"  # noqa: S608 - nobody's input
    return "\n".join([head, "BEGIN;", *listener.statements, "COMMIT;"]), listener.values


async def measure(settings: Settings, session: str, order: OrderRequest, seconds: float) -> dict[str, float]:
    script, values = await listen(settings, session, order)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "order.sql"
        file.write_text(script)
        found = {n: await _run(file, values, n, seconds / len(CONNECTIONS)) for n in CONNECTIONS}
    best = max(found, key=lambda n: found[n])
    return {"floor_per_s": round(found[best]), "floor_connections": best}


async def _run(file: Path, values: Mapping[str, str], connections: int, seconds: float) -> float:
    """Orders a second. Raises `RuntimeError` with what pgbench said when it could not."""
    url = make_url(sessions.url)
    command = [str(bin_folder() / "pgbench"), "-n", "-M", "prepared", "-f", str(file), "-c", str(connections)]
    command += ["-j", str(min(2, connections)), "-T", str(max(1, round(seconds)))]
    command += [f"-D{name}={value}" for name, value in values.items()]
    command += ["-h", str(url.host), "-p", str(url.port), "-U", str(url.username), str(url.database)]
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | {"PGPASSWORD": str(url.password), "PGOPTIONS": SETTINGS},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    found = _TPS.search(output.decode())
    if process.returncode or not found:
        raise RuntimeError(f"pgbench: {errors.decode()[-500:]}")
    return float(found.group(1))
