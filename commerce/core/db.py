"""PostgreSQL through SQLAlchemy and asyncpg: tables' base, and sessions whose commit one can see.

A public service function writes

    async with sessions.begin() as db:
        ...

and the transaction commits where the block ends; helpers take `db` and never commit. Reads that need no
transaction of their own use `sessions.read()`. `configure()` is called once by each process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import asyncpg
from sqlalchemy import BigInteger, DateTime, Identity, MetaData, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

POOL_SIZE = 10  # connections a process; PostgreSQL is given 200, which is room for a dozen processes


class Base(DeclarativeBase):
    """All tables. Text without lengths: limits are rules of the forms, checked where input is read."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        str: Text(),
        int: BigInteger(),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        list[str]: JSONB(),
        list[Any]: JSONB(),
    }


Id = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]


class History:
    """The columns every state history has; see core.states."""

    id: Mapped[Id]
    subject_id: Mapped[int] = mapped_column(index=True)
    before: Mapped[str]
    after: Mapped[str]
    by: Mapped[int | None]
    reason: Mapped[str] = mapped_column(server_default="")
    at: Mapped[CreatedAt]


def async_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+asyncpg")


class Sessions:
    """The process's door to the database."""

    def __init__(self) -> None:
        self._engine: AsyncEngine | None = None
        self._make: async_sessionmaker[AsyncSession] | None = None
        self.url = ""

    def configure(self, database_url: str, *, pool_size: int = POOL_SIZE) -> None:
        """Point this process at a database. Connections are opened when first needed."""
        self.url = database_url
        self._engine = create_async_engine(
            async_url(database_url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,  # a restarted server is noticed before a statement is lost to it
            pool_timeout=5,
            hide_parameters=True,  # values are people's data and have no place in logs
            connect_args={"timeout": 5, "server_settings": {"application_name": "chophien"}},
        )
        self._make = async_sessionmaker(self._engine, expire_on_commit=False)

    @property
    def engine(self) -> AsyncEngine:
        if self._engine is None:
            raise RuntimeError("the database is not configured: call sessions.configure() first")
        return self._engine

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """One transaction: commits at the end of the block, rolls back on any error."""
        assert self._make is not None, "the database is not configured"
        async with self._make.begin() as db:
            yield db

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session for reading; what it would write is never committed."""
        assert self._make is not None, "the database is not configured"
        async with self._make() as db:
            yield db

    async def connect_raw(self, **options: Any) -> asyncpg.Connection:
        """A connection of asyncpg's own, outside the pool: for LISTEN, COPY and the order desk."""
        url = make_url(self.url)
        return await asyncpg.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=url.password,
            database=url.database,
            timeout=5,
            **options,
        )

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()
        self._engine = self._make = None


sessions = Sessions()
