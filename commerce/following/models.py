"""Devices that asked to be told: which communes they follow, which sessions they wait for, what was sent.

A follower needs no account: a device is known by its push endpoint alone, which only the device itself and
its push service know. Nothing here names a person.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, Id


class Kind(StrEnum):
    SOON = "soon"
    """A session somebody waits for begins within minutes."""
    LIVE = "live"
    """It is on air."""
    CANCELLED = "cancelled"
    """It was called off."""


class PushDevice(Base):
    """Where a browser can be reached (RFC 8030), with the keys only it can read by (RFC 8291)."""

    __tablename__ = "push_device"

    id: Mapped[Id]
    endpoint: Mapped[str] = mapped_column(unique=True)
    p256dh: Mapped[str]
    auth: Mapped[str]
    language: Mapped[str]
    created_at: Mapped[CreatedAt]


class Follow(Base):
    __tablename__ = "follow"
    __table_args__ = (Index("ix_follow_commune_code", "commune_code"),)

    device_id: Mapped[int] = mapped_column(ForeignKey("push_device.id", ondelete="CASCADE"), primary_key=True)
    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"), primary_key=True)
    created_at: Mapped[CreatedAt]


class Reminder(Base):
    __tablename__ = "reminder"
    __table_args__ = (Index("ix_reminder_live_session_id", "live_session_id"),)

    device_id: Mapped[int] = mapped_column(ForeignKey("push_device.id", ondelete="CASCADE"), primary_key=True)
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[CreatedAt]


class PushNotice(Base):
    """One thing told to one device, once."""

    __tablename__ = "push_notice"
    __table_args__ = (
        UniqueConstraint("device_id", "live_session_id", "kind"),
        Index("ix_push_notice_due_at", "due_at", postgresql_where=text("done_at IS NULL")),
    )

    id: Mapped[Id]
    device_id: Mapped[int] = mapped_column(ForeignKey("push_device.id", ondelete="CASCADE"))
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), index=True
    )
    kind: Mapped[str]
    due_at: Mapped[CreatedAt]
    """Also the end of the lease of whoever is sending it now."""
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    done_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(server_default="")
    """`sent`, or why it was given up."""
