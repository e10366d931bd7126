"""Which versions of the policies there were, and who accepted which of them when."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from commerce.core.db import Base, CreatedAt, Id


class PolicyVersion(Base):
    """A document of templates/policies as it was published; never changed afterwards."""

    __tablename__ = "policy_version"

    policy: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    """The day it was written: `2026-11-23`."""
    sha256: Mapped[str]
    """Of the Vietnamese text, which is the one that counts."""
    since: Mapped[CreatedAt]
    """When this market published it: what was agreed to at a moment is the newest version of then."""


class PolicyAcceptance(Base):
    """One person's yes to one version. A new version asks again."""

    __tablename__ = "policy_acceptance"
    __table_args__ = (Index("uq_policy_acceptance", "person_id", "policy", "version", unique=True),)

    id: Mapped[Id]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id", ondelete="CASCADE"))
    policy: Mapped[str]
    version: Mapped[str]
    where: Mapped[str]
    """Where they said yes: a path."""
    at: Mapped[datetime]
