"""Hears what is published to rooms, as a gateway would."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import TypeVar

from streaming import protocol
from streaming.bus import Bus, Message
from streaming.protocol import AnyFrame

F = TypeVar("F")


class Ear:
    """`async with Ear(bus, "EAKNUEC") as ear:` remembers every frame told from then on."""

    def __init__(self, bus: Bus, *rooms: str) -> None:
        self.frames: list[tuple[str, AnyFrame]] = []
        self._listener = bus.listen()
        self._rooms = rooms
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Ear:
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0.05)
        for room in self._rooms:
            await self._listener.add(room)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        async for news in self._listener:
            if isinstance(news, Message):
                self.frames.append((news.room, protocol.decode(news.payload)))
                self._news.set()

    def of(self, kind: type[F]) -> list[F]:
        return [frame for _, frame in self.frames if isinstance(frame, kind)]

    async def wait(self, kind: type[F], count: int = 1, *, seconds: float = 5) -> list[F]:
        """The frames of one kind once there are so many of them."""
        async with asyncio.timeout(seconds):
            while len(found := self.of(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return found

    async def settle(self, seconds: float = 0.2) -> None:
        """For what should not come."""
        await asyncio.sleep(seconds)
