"""A state changes through its table, compared and set in the database, with a line of history.

Each kind of thing (live session, order, payment, refund, shipment) has a `StrEnum`, a table of what may
follow what, and a history table with the columns (subject_id, before, after, by, reason).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core.errors import WrongState

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True)
class StateTable(Generic[S]):
    """Which state may follow which, of the rows of `model` (columns id, state) with history in `history`."""

    model: type[Any]
    history: type[Any]
    allowed: Mapping[S, frozenset[S]]

    def allows(self, before: S, after: S) -> bool:
        return after in self.allowed.get(before, frozenset())

    async def transition(
        self,
        db: AsyncSession,
        subject_id: int,
        before: S,
        after: S,
        *,
        by: int | None = None,
        reason: str = "",
        **changes: Any,
    ) -> None:
        """Compare and set: moves the row from `before` to `after`, writes history and other `changes`.

        Raises `WrongState` when the table forbids it or when the row is no longer in `before`.
        """
        if not self.allows(before, after):
            raise WrongState(state=before.value, wanted=after.value)
        moved = await db.execute(
            update(self.model)
            .where(self.model.id == subject_id, self.model.state == before.value)
            .values(state=after.value, **changes)
            .returning(self.model.id)
            .execution_options(synchronize_session=False)
        )
        if moved.first() is None:
            raise WrongState(state=before.value, wanted=after.value)
        await db.execute(
            insert(self.history).values(
                subject_id=subject_id, before=before.value, after=after.value, by=by, reason=reason
            )
        )
