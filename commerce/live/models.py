"""Live sessions: what is planned, shown, pinned, discounted and said."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, History, Id


class LiveState(StrEnum):
    SCHEDULED = "scheduled"
    LIVE = "live"
    ENDED = "ended"
    CANCELLED = "cancelled"
    TAKEN_DOWN = "taken_down"


class LiveSession(Base):
    __tablename__ = "live_session"
    __table_args__ = (
        # The last net under `service.start`: one voice a commune.
        Index(
            "uq_live_session_commune_code_live",
            "commune_code",
            unique=True,
            postgresql_where=text("state = 'live' AND NOT rehearsal"),
        ),
    )

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True)
    """Public, upper-case: in the address /live/{code} and in the room's name."""
    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"), index=True)
    host_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    title: Mapped[str]
    state: Mapped[str] = mapped_column(index=True)
    starts_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    pinned_id: Mapped[int | None]
    """The line-up item pinned now; a row of `lineup_item`."""
    poster: Mapped[str] = mapped_column(server_default="")
    """Name of the drawing shown while there is no picture."""
    playback: Mapped[str] = mapped_column(server_default="")
    """Address of the picture's HLS playlist; empty while no picture has come."""
    rehearsal: Mapped[bool] = mapped_column(server_default=text("false"))
    stream_key: Mapped[int] = mapped_column(server_default="0")
    """Generation of the stream key for OBS and the like; 0: none was asked for. The key itself is derived
    from it and stored nowhere."""
    taken_down_reason: Mapped[str] = mapped_column(server_default="")
    taken_down_issuer: Mapped[str] = mapped_column(server_default="")
    """Who ordered it, in words: an authority or an officer; who pressed the button is in the history."""
    rules_accepted_at: Mapped[datetime | None]
    """When the host accepted the rulebook for livestream selling, for this session."""
    demo: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[CreatedAt]


class LiveSessionHistory(History, Base):
    __tablename__ = "live_session_history"


class LineupItem(Base):
    """One thing that can be ordered in a session, under a short code people can say and type."""

    __tablename__ = "lineup_item"
    __table_args__ = (
        UniqueConstraint("live_session_id", "code"),
        UniqueConstraint("live_session_id", "grade_id"),
    )

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(ForeignKey("live_session.id", ondelete="CASCADE"))
    grade_id: Mapped[int] = mapped_column(ForeignKey("grade.id"), index=True)
    code: Mapped[str]
    position: Mapped[int]
    removed_at: Mapped[datetime | None]


class Pin(Base):
    """One stretch of time in which an item was pinned; orders carry the pin they came through."""

    __tablename__ = "pin"

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), index=True
    )
    item_id: Mapped[int] = mapped_column(ForeignKey("lineup_item.id"))
    by: Mapped[int | None]
    at: Mapped[CreatedAt]
    until: Mapped[datetime | None]
    price: Mapped[int | None]
    """The usual price when it was pinned, for who watches again later."""


class Deal(Base):
    """A lower price for a while and for so many units; the database's clock decides whether it still runs."""

    __tablename__ = "deal"
    __table_args__ = (
        CheckConstraint("price > 0", name="price_positive"),
        CheckConstraint("taken >= 0 AND taken <= quantity", name="taken_within_quantity"),
    )

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), index=True
    )
    item_id: Mapped[int] = mapped_column(ForeignKey("lineup_item.id"))
    price: Mapped[int]
    quantity: Mapped[int]
    taken: Mapped[int] = mapped_column(server_default="0")
    per_buyer: Mapped[int | None]
    starts_at: Mapped[CreatedAt]
    ends_at: Mapped[datetime]
    by: Mapped[int | None]
    stopped_at: Mapped[datetime | None]


HERE = "page"
"""`Comment.source` of what was said on the session's own page."""


class Comment(Base):
    __tablename__ = "comment"
    __table_args__ = (
        # What another network gave us is stored once, however often it is read.
        UniqueConstraint("live_session_id", "source", "external_id"),
        Index("ix_comment_live_session_id_id", "live_session_id", "id"),
        # What waits on the helper's desk.
        Index(
            "ix_comment_candidates",
            "live_session_id",
            "id",
            postgresql_where=text("reading IS NOT NULL AND settled_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(ForeignKey("live_session.id", ondelete="CASCADE"))
    visitor: Mapped[str]
    name: Mapped[str]
    text: Mapped[str]
    at: Mapped[CreatedAt]
    hidden_at: Mapped[datetime | None]
    hidden_by: Mapped[int | None]
    source: Mapped[str] = mapped_column(server_default=HERE)
    """Where it was said: `page`, or the network it was read from."""
    external_id: Mapped[str | None]
    """Its id on that network."""
    reading: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    """What the comment-order parser understood, if anything."""
    order_key: Mapped[str | None]
    """The idempotency key under which it is made an order: a comment goes into one order at most."""
    settled: Mapped[str] = mapped_column(server_default="")
    """What a helper made of it: `ordered` or `dismissed`; empty while it waits."""
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[int | None]
    demo: Mapped[bool] = mapped_column(server_default=false())


class Mute(Base):
    """A commenter who is heard no more in a session: what they say is kept and shown to nobody."""

    __tablename__ = "mute"
    __table_args__ = (UniqueConstraint("live_session_id", "visitor"),)

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(ForeignKey("live_session.id", ondelete="CASCADE"))
    visitor: Mapped[str]
    by: Mapped[int]
    at: Mapped[CreatedAt]


class LiveCounter(Base):
    """What was ordered in a session so far: added to in the transaction that places the orders, and never
    taken from. A cancelled order was ordered too: the measures `orders` and GMV are before cancellations."""

    __tablename__ = "live_counter"

    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    orders: Mapped[int] = mapped_column(server_default="0")
    units: Mapped[int] = mapped_column(server_default="0")
    gmv: Mapped[int] = mapped_column(server_default="0")


class NetworkAccount(Base):
    """A Facebook Page or YouTube channel of a commune, with the right to read it that its owner gave us."""

    __tablename__ = "network_account"
    __table_args__ = (
        Index(
            "uq_network_account_commune_code_network",
            "commune_code",
            "network",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    commune_code: Mapped[str] = mapped_column(ForeignKey("commune.code"))
    network: Mapped[str]
    """`facebook` or `youtube`."""
    external_id: Mapped[str]
    name: Mapped[str]
    tokens: Mapped[str]
    """Sealed (core.seal); empty once the account is removed."""
    problem: Mapped[str] = mapped_column(server_default="")
    """Why it cannot be read until it is connected again: `expired` or `not_allowed`; empty while it can."""
    connected_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    connected_at: Mapped[CreatedAt]
    removed_at: Mapped[datetime | None]


class NetworkListening(Base):
    """How far one account's broadcast has been read for one session; whoever reads on begins here."""

    __tablename__ = "network_listening"
    __table_args__ = (UniqueConstraint("live_session_id", "account_id"),)

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(ForeignKey("live_session.id", ondelete="CASCADE"))
    account_id: Mapped[int] = mapped_column(ForeignKey("network_account.id"), index=True)
    state: Mapped[str]
    """`looking` for a broadcast, `reading`, `waiting` (told to slow down, or the network is away), `over`."""
    broadcast: Mapped[str] = mapped_column(server_default="")
    """Id of the broadcast there; empty until it is found."""
    video: Mapped[str] = mapped_column(server_default="")
    """Id of the video, whose figures are read."""
    chat: Mapped[str] = mapped_column(server_default="")
    """Id of what comments are read from."""
    cursor: Mapped[str] = mapped_column(server_default="")
    problem: Mapped[str] = mapped_column(server_default="")
    """Why it waits: `slow`, `quota` or `away`."""
    failures: Mapped[int] = mapped_column(server_default="0")
    """In a row."""
    heard: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime]
    read_at: Mapped[datetime | None]
    figures_at: Mapped[datetime | None]
    """When reach and views were read last."""


class NetworkQuota(Base):
    """What of a network's daily allowance has been used, by the day on which it counts."""

    __tablename__ = "network_quota"

    network: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    used: Mapped[int]


class Outlet(Base):
    """Another network that a session's picture is sent on to, by RTMP."""

    __tablename__ = "outlet"

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str]
    sealed: Mapped[str]
    """Address and key, sealed with the market's key (`core.seal`, purpose "outlet")."""
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    by: Mapped[int | None]
    at: Mapped[CreatedAt]


class Recording(Base):
    """What is kept of a session's picture after its end; the bytes are in S3 (`streaming.video.keeping`)."""

    __tablename__ = "recording"

    live_session_id: Mapped[int] = mapped_column(
        ForeignKey("live_session.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    began_at: Mapped[datetime]
    """Its first frame."""
    duration_ms: Mapped[int]
    files: Mapped[list[Any]]
    """[{"name": "000", "sha256": "…", "size": 1234, "width": 1280, "height": 720}], in order."""
    size: Mapped[int]
    kept_until: Mapped[datetime] = mapped_column(index=True)
    held_at: Mapped[datetime | None]
    """Under legal hold since: nothing of it is deleted."""
    held_by: Mapped[int | None]
    hold_note: Mapped[str] = mapped_column(server_default="")
    assembled_at: Mapped[CreatedAt]
    deleted_at: Mapped[datetime | None]


class Clip(Base):
    """Some minutes of a recording, cut for one product."""

    __tablename__ = "clip"
    __table_args__ = (UniqueConstraint("live_session_id", "name"),)

    id: Mapped[Id]
    live_session_id: Mapped[int] = mapped_column(ForeignKey("live_session.id", ondelete="CASCADE"))
    item_id: Mapped[int] = mapped_column(ForeignKey("lineup_item.id"))
    name: Mapped[str]
    """In its address: …/recording/clip-{name}.mp4."""
    began_at: Mapped[datetime]
    duration_ms: Mapped[int]
    size: Mapped[int]
    sha256: Mapped[str]
    by: Mapped[int | None]
    at: Mapped[CreatedAt]


class MediaDeletion(Base):
    """The log of deleted pictures: written before the deletion begins, ended when it is done. It outlives
    everything else of the session."""

    __tablename__ = "media_deletion"

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(index=True)
    """The session's."""
    why: Mapped[str]
    by: Mapped[int | None]
    objects: Mapped[int]
    bytes: Mapped[int]
    sha256: Mapped[list[str]]
    """Of the recordings that were deleted."""
    at: Mapped[CreatedAt]
    done_at: Mapped[datetime | None]
