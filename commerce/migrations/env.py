"""Alembic's environment: the connection comes from core.migrate, the tables from every module."""

from __future__ import annotations

from typing import Any

from alembic import context

import commerce.models  # noqa: F401 - imports every module's tables
from commerce.core.db import Base


def ours(_object: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    """Monthly partitions are made by the worker as time goes on; they are not part of the schema in code."""
    return not (kind == "table" and name is not None and "_part_" in name)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
    compare_server_default=False,
    include_object=ours,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
