"""What was seen: visits and page events, partitioned by month.

Both tables are written by `analytics.ingest` alone, which also makes their partitions. They are about
visits, not people: a visitor is a random id of a browser.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base


class Visit(Base):
    """One visit: from a viewer's connection to its end."""

    __tablename__ = "visit"
    __table_args__ = (
        Index("ix_visit_live_session_id_joined_at", "live_session_id", "joined_at"),
        # A gateway that died is looked up by name; only few visits are open at a time.
        Index("ix_visit_gateway_open", "gateway", postgresql_where=text("left_at IS NULL")),
        {"postgresql_partition_by": "RANGE (joined_at)"},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    joined_at: Mapped[datetime] = mapped_column(primary_key=True)
    live_session_id: Mapped[int] = mapped_column(ForeignKey("live_session.id", ondelete="CASCADE"))
    visitor: Mapped[str]
    source: Mapped[str]
    """The way the visitor came: zalo, facebook, tiktok, qr, channel, direct…"""
    gateway: Mapped[str]
    left_at: Mapped[datetime | None]
    """None while the visit is open."""
    died: Mapped[bool]
    """`left_at` is the last sign of life of a gateway that died, not the viewer's own leaving."""
    reported: Mapped[int]
    """Order of the report this row holds; an older one that arrives late changes nothing."""


class GatewayDeath(Base):
    """A gateway that died with visits open; kept because its visits may be read after its death is."""

    __tablename__ = "gateway_death"

    gateway: Mapped[str] = mapped_column(primary_key=True)
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True
    )
    at: Mapped[datetime]
    reported: Mapped[int]


class PageEvent(Base):
    """What a page reported: a product card was seen or tapped, something went into the basket."""

    __tablename__ = "page_event"
    __table_args__ = (
        Index("ix_page_event_live_session_id_at", "live_session_id", "at"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    reported: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    """Together the record's name in the stream: which batch, which line of it."""
    at: Mapped[datetime] = mapped_column(primary_key=True)
    live_session_id: Mapped[int] = mapped_column(ForeignKey("live_session.id", ondelete="CASCADE"))
    visitor: Mapped[str]
    kind: Mapped[str]
    """`impression`, `click` or `basket`."""
    item_code: Mapped[str]
    """The short code in that session's line-up: A1."""
