"""What was seen: visits and page events, partitioned by month.

Both tables are written by `analytics.ingest` alone, which also makes their partitions. They are about
visits, not people: a visitor is a random id of a browser.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Date,
    Double,
    ForeignKey,
    Index,
    Select,
    SmallInteger,
    UniqueConstraint,
    and_,
    func,
    select,
)
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, History, Id


class Visit(Base):
    """One visit: from a viewer's connection to its end."""

    __tablename__ = "visit"
    __table_args__ = (
        Index("ix_visit_live_session_id_joined_at", "live_session_id", "joined_at"),
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
    """As reported; none while the visit is open, and for ever if its gateway died: see `ended_at`."""


class GatewayDeath(Base):
    """A gateway that died with visits open; they ended at its last sign of life."""

    __tablename__ = "gateway_death"

    gateway: Mapped[str] = mapped_column(primary_key=True)
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True
    )
    at: Mapped[datetime]


def ended_at() -> Select[str, datetime, datetime | None]:
    """(id, joined_at, when the visit ended or none while it is open): its own leaving, else the death of the
    gateway it was open under. Join with `Visit` on both key columns, or add columns and conditions.
    """
    died = and_(GatewayDeath.gateway == Visit.gateway, GatewayDeath.live_session_id == Visit.live_session_id)
    ended = func.coalesce(Visit.left_at, GatewayDeath.at)
    return select(Visit.id, Visit.joined_at, ended.label("ended_at")).outerjoin(GatewayDeath, died)


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


# ---- rollups: computed from the raw rows by `analytics.rollup` alone, and kept when those are gone


class SessionRollup(Base):
    """One session's counts; the words are in `analytics.measures`."""

    __tablename__ = "session_rollup"
    __table_args__ = (Index("ix_session_rollup_commune_code_day", "commune_code", "day"),)

    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"))
    day: Mapped[date] = mapped_column(Date, index=True)
    """Of the start, in Vietnam."""
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    air_ms: Mapped[int]
    views: Mapped[int]
    effective_views: Mapped[int]
    viewers: Mapped[int]
    reach: Mapped[int]
    watched_ms: Mapped[int]
    pcu: Mapped[int]
    impressions: Mapped[int]
    clicks: Mapped[int]
    baskets: Mapped[int]
    orders: Mapped[int]
    units: Mapped[int]
    gmv: Mapped[int]
    net: Mapped[int]
    paid: Mapped[int]
    buyers: Mapped[int]
    by_helper: Mapped[int]
    comments: Mapped[int]
    curve: Mapped[list[Any]]
    """How many views lasted at least `measures.CURVE_S[i]` seconds."""
    computed_at: Mapped[datetime]


class MinuteRollup(Base):
    """One minute on air: who watched, came, left, tapped and ordered."""

    __tablename__ = "minute_rollup"

    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    at: Mapped[datetime] = mapped_column(primary_key=True)
    peak: Mapped[int]
    watched_ms: Mapped[int]
    """Divided by the minute's 60,000 ms: its average viewers."""
    came: Mapped[int]
    left: Mapped[int]
    """Views that began and ended in this minute."""
    impressions: Mapped[int]
    clicks: Mapped[int]
    baskets: Mapped[int]
    orders: Mapped[int]
    units: Mapped[int]
    gmv: Mapped[int]
    comments: Mapped[int]


class ItemRollup(Base):
    """One thing of the line-up in one session."""

    __tablename__ = "item_rollup"

    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    item_code: Mapped[str] = mapped_column(primary_key=True)
    grade_id: Mapped[int | None]
    impressions: Mapped[int]
    clicks: Mapped[int]
    baskets: Mapped[int]
    orders: Mapped[int]
    units: Mapped[int]
    gmv: Mapped[int]
    net: Mapped[int]


class SourceRollup(Base):
    """One way people came to one session."""

    __tablename__ = "source_rollup"

    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    source: Mapped[str] = mapped_column(primary_key=True)
    views: Mapped[int]
    viewers: Mapped[int]
    watched_ms: Mapped[int]
    orders: Mapped[int]
    gmv: Mapped[int]


class PinRollup(Base):
    """What was ordered through one pin."""

    __tablename__ = "pin_rollup"

    pin_id: Mapped[int] = mapped_column(
        ForeignKey("pin.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), index=True
    )
    orders: Mapped[int]
    units: Mapped[int]
    gmv: Mapped[int]


class DealRollup(Base):
    """What was ordered at one deal's price."""

    __tablename__ = "deal_rollup"

    deal_id: Mapped[int] = mapped_column(
        ForeignKey("deal.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), index=True
    )
    orders: Mapped[int]
    units: Mapped[int]
    gmv: Mapped[int]


class Attribution(Base):
    """Which session an order belongs to, and by what; the rows behind every figure about orders."""

    __tablename__ = "attribution"

    order_id: Mapped[int] = mapped_column(
        ForeignKey("order.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), index=True
    )
    source: Mapped[str]
    how: Mapped[str]
    """`visit` (a visit or beacon of the buyer within 24 h), `code` (the session's link or code, no visit
    seen), `helper` (typed in), `later` (ordered outside a session, within 24 h of one that sold it)."""


class Recency(Base):
    """How many people were there on `day` who were last there on `previous`; see `analytics.recency`."""

    __tablename__ = "recency"
    __table_args__ = (
        # A period reads its days and nothing else.
        Index("ix_recency_day", "day", postgresql_include=["previous", "commune_code", "kind", "people"]),
    )

    commune_code: Mapped[str] = mapped_column(primary_key=True)
    """`*` is the whole province."""
    kind: Mapped[str] = mapped_column(primary_key=True)
    """`viewer`, `reach` or `buyer`."""
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    previous: Mapped[date] = mapped_column(Date, primary_key=True)
    """0001-01-01: never before."""
    people: Mapped[int]


class RollupMark(Base):
    """How far a source of changes has been read, by its name."""

    __tablename__ = "rollup_mark"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]


# ---- what the province sets and what people report


class SignalRule(Base):
    """One rule of the heat map. Without any row the rules of `analytics.signals` hold."""

    __tablename__ = "signal_rule"

    id: Mapped[Id]
    kind: Mapped[str]
    """`below` (a measure under a threshold), `trend` (fallen by so much), `silence` (days without one)."""
    measure: Mapped[str]
    """Key of `measures.BY_KEY`; `sessions` for silence."""
    yellow: Mapped[float] = mapped_column(Double)
    red: Mapped[float] = mapped_column(Double)
    set_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    set_at: Mapped[CreatedAt]


class Residents(Base):
    """How many people live in a commune, where somebody has said so, with the source."""

    __tablename__ = "residents"

    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"), primary_key=True)
    people: Mapped[int]
    as_of: Mapped[date] = mapped_column(Date)
    source: Mapped[str]
    set_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


class OutsideReach(Base):
    """What a session reached on another network: self-reported, with its proof, never added to ours."""

    __tablename__ = "outside_reach"

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), index=True
    )
    network: Mapped[str]
    reach: Mapped[int | None]
    views: Mapped[int | None]
    note: Mapped[str] = mapped_column(server_default="")
    proof: Mapped[str]
    """Key of the screenshot in S3; the answer's name for figures read from an API."""
    by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    """None: read from an API."""
    at: Mapped[CreatedAt]
    withdrawn_at: Mapped[datetime | None]


class ReportState(StrEnum):
    DRAFT = "draft"
    SUBMITTED = "submitted"
    RETURNED = "returned"
    APPROVED = "approved"


class Report(Base):
    """A commune's report of a period, or, without a commune, the province's."""

    __tablename__ = "report"
    __table_args__ = (
        Index(
            "uq_report_commune_code_first_last",
            "commune_code",
            "first",
            "last",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[Id]
    commune_code: Mapped[str | None] = mapped_column(ForeignKey("commune.code"))
    kind: Mapped[str]
    """`week`, `month` or `campaign`."""
    title: Mapped[str]
    first: Mapped[date] = mapped_column(Date)
    last: Mapped[date] = mapped_column(Date)
    due_on: Mapped[date] = mapped_column(Date)
    state: Mapped[str] = mapped_column(index=True)
    version: Mapped[int] = mapped_column(server_default="1")
    words: Mapped[str] = mapped_column(server_default="")
    figures: Mapped[dict[str, Any]]
    """As of the last filling; frozen once approved."""
    created_at: Mapped[CreatedAt]


class ReportHistory(History, Base):
    __tablename__ = "report_history"


class ReportVersion(Base):
    """What was handed in, each time."""

    __tablename__ = "report_version"

    report_id: Mapped[int] = mapped_column(ForeignKey("report.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[str]
    figures: Mapped[dict[str, Any]]
    by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    at: Mapped[CreatedAt]


class ReportReminder(Base):
    """Somebody was told of a report's deadline, once for each kind of reminder."""

    __tablename__ = "report_reminder"
    __table_args__ = (UniqueConstraint("report_id", "person_id", "kind"),)

    id: Mapped[Id]
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id", ondelete="CASCADE"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    kind: Mapped[str]
    """`before`, `due` or `late`."""
    at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    """When its message was handed to the network; none while it could not be."""


class StoreKey(Base):
    """A program of the provincial data store that may read; only the hash of its key is kept."""

    __tablename__ = "store_key"

    id: Mapped[Id]
    name: Mapped[str]
    key_hash: Mapped[str] = mapped_column(unique=True)
    by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
