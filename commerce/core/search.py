"""Searching what people type in folded text; see `core.text.search_text`."""

from __future__ import annotations

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, true

from commerce.core.text import fold


def has_words(search: SQLColumnExpression[str], query: str) -> ColumnElement[bool]:
    """True where every word of `query` begins a word of `search`; an empty query finds everything.

    Folding leaves letters, digits and spaces only, so nothing in a query is a wildcard.
    """
    words = fold(query).split()
    return and_(true(), *(search.like(f"% {word}%") for word in words))
