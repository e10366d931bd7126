"""Making a race happen on purpose, and switching guards off to see that it would."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import Select, text, update

from commerce.catalog import stock
from commerce.core.states import StateTable
from commerce.orders import placing
from tests.orders.market import change

BRIEFLY = 0.5  # seconds; where a guard makes one wait for the other they never meet, however long one waits
TWIN = 30.0  # without the guard they must meet, however busy the machine is


class Meeting:
    """Holds each of `parties` where they would do harm together, until all are there.

    After `patience` seconds each goes on alone.
    """

    def __init__(self, parties: int = 2, patience: float = BRIEFLY) -> None:
        self._missing = parties
        self._patience = patience
        self._all_there = asyncio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self._all_there.set()
        await happened(self._all_there, self._patience)

    def before(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """`function`, entered together."""

        async def entered(*arguments: Any, **named: Any) -> Any:
            await self.wait()
            return await function(*arguments, **named)

        return entered


async def happened(event: asyncio.Event, patience: float) -> None:
    """Waits for it, and after `patience` seconds no longer."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), patience)


async def without_row_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement locks a row before it is written, and the last net of the tables is cut."""
    monkeypatch.setattr(Select, "with_for_update", lambda self, **_: self)
    for module, name in ((stock, "_LOCK"), (placing, "_FACTS")):
        plain = str(getattr(module, name)).replace("FOR NO KEY UPDATE", "")
        monkeypatch.setattr(module, name, text(plain))
    await change("ALTER TABLE stock DROP CONSTRAINT ck_stock_reserved_within_on_hand")
    await change("ALTER TABLE deal DROP CONSTRAINT ck_deal_taken_within_quantity")


def without_compare_and_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is written whatever it was."""

    async def blind(
        self: StateTable[Any], db: Any, subject_id: int, before: Any, after: Any, **rest: Any
    ) -> None:
        changes = {name: value for name, value in rest.items() if name not in ("by", "reason")}
        await db.execute(
            update(self.model).where(self.model.id == subject_id).values(state=after.value, **changes)
        )

    monkeypatch.setattr(StateTable, "transition", blind)
