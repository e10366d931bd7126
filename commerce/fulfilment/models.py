"""Parcels on their way, and what became of them."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, History, Id
from commerce.core.states import StateTable


class ShipmentState(StrEnum):
    SENT = "sent"
    DELIVERED = "delivered"
    REFUSED = "refused"
    """The buyer did not take it; it is on its way back."""
    RETURNED = "returned"
    """Back in the seller's store."""
    LOST = "lost"


class Shipment(Base):
    __tablename__ = "shipment"

    id: Mapped[Id]
    order_id: Mapped[int] = mapped_column(ForeignKey("order.id"), unique=True)
    state: Mapped[str]
    carrier: Mapped[str] = mapped_column(server_default="")
    tracking: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[CreatedAt]


class ShipmentHistory(History, Base):
    __tablename__ = "shipment_history"


_S = ShipmentState
SHIPMENT_STATES = StateTable(
    Shipment,
    ShipmentHistory,
    {
        _S.SENT: frozenset({_S.DELIVERED, _S.REFUSED, _S.LOST}),
        _S.REFUSED: frozenset({_S.RETURNED, _S.LOST}),
        _S.DELIVERED: frozenset(),
        _S.RETURNED: frozenset(),
        _S.LOST: frozenset(),
    },
)
