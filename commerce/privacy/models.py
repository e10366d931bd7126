"""What people ask about their own data, and the clock of the answer."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, History, Id
from commerce.core.states import StateTable


class Wish(StrEnum):
    SEE = "see"
    """To see and to copy: one answer, on screen and as a file."""
    CORRECT = "correct"
    ERASE = "erase"


class RequestState(StrEnum):
    ASKED = "asked"
    """The number was typed; whether it is theirs is not known yet."""
    PROVED = "proved"
    """The code sent to the phone came back: the data may be shown."""
    DONE = "done"
    REFUSED = "refused"


class DataRequest(Base):
    __tablename__ = "data_request"
    __table_args__ = (
        Index("ix_data_request_open", "due_at", postgresql_where=text("state IN ('asked', 'proved')")),
    )

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    phone: Mapped[str] = mapped_column(index=True)
    wish: Mapped[str]
    words: Mapped[str] = mapped_column(server_default="")
    state: Mapped[str]
    commune_code: Mapped[str | None] = mapped_column(ForeignKey("commune.code"), index=True)
    """Where they bought last: its office answers; without one the province does."""
    asked_at: Mapped[CreatedAt]
    due_at: Mapped[datetime]
    """Two working days after it was asked."""
    code_hash: Mapped[str | None]
    """Of the one-time code on its way to the phone."""
    code_until: Mapped[datetime | None]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    token_hash: Mapped[str | None] = mapped_column(index=True)
    """Of the secret address at which the data is shown after the proof."""
    token_until: Mapped[datetime | None]
    answer: Mapped[str] = mapped_column(server_default="")
    answered_by: Mapped[int | None]


class DataRequestHistory(History, Base):
    __tablename__ = "data_request_history"


_S = RequestState
REQUEST_STATES = StateTable(
    DataRequest,
    DataRequestHistory,
    {
        _S.ASKED: frozenset({_S.PROVED, _S.DONE, _S.REFUSED}),
        _S.PROVED: frozenset({_S.DONE, _S.REFUSED}),
        _S.DONE: frozenset(),
        _S.REFUSED: frozenset(),
    },
)
OPEN = (RequestState.ASKED, RequestState.PROVED)
