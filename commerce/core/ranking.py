"""In what order lists are shown, as data: what counts and by how much.

The code that orders a list takes its weights from here, and the published page of criteria is made from the
same objects (the law asks for it), so the two cannot differ. A list has one `Ranking`, made beside the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, case, literal

ALL: list[Ranking] = []


@dataclass(frozen=True, slots=True)
class Criterion:
    words: str
    """A msgid: what earns the points, or costs them."""
    weight: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """`ties`: a msgid that says how equals are ordered. A list without criteria is ordered by that alone."""

    name: str
    title: str
    ties: str
    criteria: Mapping[str, Criterion] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ALL.append(self)

    def points(self, **counted: float) -> float:
        """Of one thing: how often (or how much of) each criterion it has. All must be named."""
        assert counted.keys() == self.criteria.keys()
        return sum(self.criteria[name].weight * much for name, much in counted.items())

    def column(self, **met: ColumnElement[bool]) -> ColumnElement[Any]:
        """The same in a query, of criteria that are met or not: order by it, descending."""
        assert met.keys() == self.criteria.keys()
        total: ColumnElement[Any] = literal(0)
        for name, condition in met.items():
            total = total + case((condition, self.criteria[name].weight), else_=0)
        return total
