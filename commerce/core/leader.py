"""Work that exactly one process of a market does at a time: whoever holds a lock in PostgreSQL.

The lock belongs to a connection of its own. When its process dies, PostgreSQL lets go of it and another one
takes over within a second; when PostgreSQL goes away, nobody leads until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import structlog

from commerce.core.db import sessions

TRY_EVERY_S = 0.5
CHECK_EVERY_S = 1.0

log = structlog.get_logger()

Work = Callable[[], Awaitable[None]]


async def lead(key: int, work: Sequence[Work]) -> None:
    """Try for the lock `key` for ever; while it is held, run all of `work`, each until it is cancelled."""
    while True:
        try:
            connection = await sessions.connect_raw(command_timeout=3)
            try:
                await _take(connection, key)
                log.info("leading")
                await _work_while_held(connection, work)
            finally:
                # Not a polite close: that waits for an answer, and the server frees the lock either way.
                connection.terminate()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("not_leading", error=repr(error)[:200])
        await asyncio.sleep(TRY_EVERY_S)


async def _take(connection: asyncpg.Connection, key: int) -> None:
    """Asked for again and again rather than waited for: a dead connection is noticed that way."""
    while True:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", key):
            return
        await asyncio.sleep(TRY_EVERY_S)


async def _work_while_held(connection: asyncpg.Connection, work: Sequence[Work]) -> None:
    tasks = [asyncio.ensure_future(one()) for one in work]
    try:
        while True:
            done, _ = await asyncio.wait(tasks, timeout=CHECK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # work has no end of its own: this raises what ended it
                raise RuntimeError("work of the leader has ended")
            await connection.execute("SELECT 1")
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


class Turn:
    """One at a time among all processes: `async with turn:` waits until no other process is inside.

    For reading what is true and telling it as one act: of two that read and tell at once, the one that read
    first could speak last, and what it says would be old.
    """

    def __init__(self, key: int) -> None:
        self._key = key
        self._here = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> None:
        await self._here.acquire()
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await sessions.connect_raw(command_timeout=5)
            await self._connection.execute("SELECT pg_advisory_lock($1)", self._key)
        except BaseException:
            self._drop()
            self._here.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        try:
            assert self._connection is not None
            await self._connection.execute("SELECT pg_advisory_unlock($1)", self._key)
        except BaseException as error:
            # Without its connection the lock is free, which is all that was wanted.
            self._drop()
            if not isinstance(error, Exception):
                raise
            log.warning("turn_lost", error=repr(error)[:200])
        finally:
            self._here.release()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        async with self._here:
            self._drop()
