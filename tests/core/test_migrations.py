"""Migrations make exactly the tables the code describes."""

from __future__ import annotations

from commerce.core import migrate


def test_migrations_and_tables_agree(database_url: str) -> None:
    migrate.check(database_url)


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    migrate.upgrade(database_url)
    migrate.check(database_url)
