"""How well comments are read: precision and recall over comments_corpus.csv.

    python -m tests.live.comments_report

The corpus: `kind` (order, phone: only a phone, talk), `text`, the right reading (`lines` as `A1=2 B1=1`,
`phone`), `unclear` (1: a person would ask the buyer back, so that no reading of it may be sure). The line-up
sells codes by the units of `UNITS`. A reading counts as right when every line and the phone are right.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from commerce.live.comment_orders import Reading, read

CORPUS = Path(__file__).with_name("comments_corpus.csv")
UNITS = {
    **dict.fromkeys(("A1", "A2", "A3", "A10", "B3", "E5"), "kg"),
    **dict.fromkeys(("B1", "B2", "D1"), "box"),
    "C1": "piece",
}


@dataclass(frozen=True)
class Row:
    kind: str
    text: str
    lines: dict[str, int]
    phone: str | None
    unclear: bool


def corpus() -> list[Row]:
    with CORPUS.open(encoding="utf-8", newline="") as source:
        return [
            Row(
                row["kind"],
                row["text"],
                {code: int(n) for code, n in (part.split("=") for part in row["lines"].split())},
                row["phone"] or None,
                row["unclear"] == "1",
            )
            for row in csv.DictReader(source)
        ]


def is_right(row: Row, found: Reading | None) -> bool:
    if found is None:
        return row.kind == "talk"
    return {line.code: line.quantity for line in found.lines} == row.lines and found.phone == row.phone


def is_sure(found: Reading | None) -> bool:
    return found is not None and found.sure and bool(found.lines)


@dataclass
class Report:
    comments: int
    orders: int
    clear_orders: int
    precision: float
    """Of the readings given as sure, those that are right."""
    recall: float
    """Of the orders a person finds clear, those read surely and rightly."""
    found: float
    """Of all orders, those that reach the helper's desk, sure or not."""
    talk_shown: float
    """Of what is no order, what reaches the desk all the same, with a doubt."""
    wrong: list[str]
    missed: list[str]


def measure() -> Report:
    rows = [(row, read(row.text, UNITS)) for row in corpus()]
    sure = [(row, found) for row, found in rows if is_sure(found)]
    good = [row for row, found in sure if row.kind == "order" and not row.unclear and is_right(row, found)]
    orders = [(row, found) for row, found in rows if row.kind == "order"]
    clear = [row for row, _ in orders if not row.unclear]
    talk = [found for row, found in rows if row.kind == "talk"]
    return Report(
        comments=len(rows),
        orders=len(orders),
        clear_orders=len(clear),
        precision=len(good) / max(1, len(sure)),
        recall=len(good) / max(1, len(clear)),
        found=sum(found is not None for _, found in orders) / len(orders),
        talk_shown=sum(found is not None for found in talk) / len(talk),
        wrong=[row.text for row, found in sure if row not in good],
        missed=[row.text for row in clear if row not in good],
    )


if __name__ == "__main__":
    print(json.dumps(measure().__dict__, ensure_ascii=False, indent=1))
