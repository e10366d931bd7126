"""People, what they may do, and the devices they are signed in on."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, Id


class Person(Base):
    __tablename__ = "person"

    id: Mapped[Id]
    phone: Mapped[str] = mapped_column(unique=True)
    """National form, digits only: 0901234567."""
    name: Mapped[str]
    password_hash: Mapped[str | None]
    must_change_password: Mapped[bool] = mapped_column(server_default=text("false"))
    identity_verified_at: Mapped[datetime | None]
    """When an officer checked who this is; a host cannot go live before."""
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    demo: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[CreatedAt]


class RoleGrant(Base):
    __tablename__ = "role_grant"
    __table_args__ = (
        Index(
            "uq_role_grant_person_role_commune",
            "person_id",
            "role",
            "commune_code",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[Id]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    role: Mapped[str]
    commune_code: Mapped[str | None] = mapped_column(ForeignKey("commune.code"))
    granted_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    created_at: Mapped[CreatedAt]


class SignIn(Base):
    """One device of one person. Only the hash of its token is kept."""

    __tablename__ = "sign_in"

    id: Mapped[Id]
    token_hash: Mapped[str] = mapped_column(unique=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    device: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class SignInCode(Base):
    """A one-time code on its way to a phone. Only its hash is kept."""

    __tablename__ = "sign_in_code"

    id: Mapped[Id]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    code_hash: Mapped[str]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class AccountEvent(Base):
    """Who did what to whose account: opened, role given or taken, password reset, closed."""

    __tablename__ = "account_event"

    id: Mapped[Id]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    by: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="SET NULL"))
    what: Mapped[str]
    detail: Mapped[str] = mapped_column(server_default="")
    at: Mapped[CreatedAt]


class IdentityCheck(Base):
    """Somebody's document was looked at: a keyed hash of its number, the verdict, who and when. No images."""

    __tablename__ = "identity_check"
    __table_args__ = (
        CheckConstraint("(person_id IS NULL) <> (seller_id IS NULL)", name="one_subject"),
        Index("ix_identity_check_number_hash", "number_hash"),
    )

    id: Mapped[Id]
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"), index=True)
    seller_id: Mapped[int | None] = mapped_column(index=True)
    """Of the catalogue; no foreign key, accounts know no sellers."""
    kind: Mapped[str]
    number_hash: Mapped[str]
    verdict: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    by: Mapped[int]
    at: Mapped[CreatedAt]
