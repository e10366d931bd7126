"""Group commit: many small writes that arrive together share one transaction.

A commit costs the same for one row and for five hundred. `Batcher.submit` puts an item in line; one writer
takes whatever is waiting, up to a bound, and hands it to `write`; while that commits, the next batch gathers
by itself, so batches grow with the load and a lone item never waits for company.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from commerce.core.errors import Busy
from commerce.core.outage import is_outage

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """One line in front of `write`, which gets up to `most` items and answers each, in their order, with a
    result or an exception for that item alone. When it raises, nothing of the batch was stored: each item
    is then tried by itself, so that one bad item does not take the others with it.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        *,
        most: int = 500,
        waiting: int = 5_000,
    ) -> None:
        self._write = write
        self._most = most
        self._waiting = waiting
        self._line: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """Returns once the item is committed. Raises `Busy` with a full line, or the item's own error."""
        if len(self._line) >= self._waiting:
            raise Busy
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._line.append((item, answer))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._line:
            batch = [self._line.popleft() for _ in range(min(self._most, len(self._line)))]
            # Whoever gave up waiting (a closed connection) is not written for.
            batch = [(item, answer) for item, answer in batch if not answer.done()]
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Exception as error:
            if len(batch) == 1 or is_outage(error):  # nothing would be better one by one
                for _, answer in batch:
                    _answer(answer, error)
                return
            for one in batch:
                await self._commit([one])
            return
        for (_, answer), result in zip(batch, results, strict=True):
            _answer(answer, result)


def _answer(future: asyncio.Future[R], result: R | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
