"""Reading a table of values strictly: what is wrong is remembered with row and column, and reading goes on.

A person who mends the file sees all its faults at once. Rows are numbered as a spreadsheet shows them: the
header is row 1.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class SeedError(Exception):
    """Data files that cannot be taken; nothing was changed. `faults`: one plain sentence for each fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(["the data files were not loaded, nothing was changed:", *faults]))


class Row:
    """One row; every reader returns something usable even when it notes a fault."""

    def __init__(self, sheet: Sheet, number: int, cells: dict[str, str]) -> None:
        self.sheet = sheet
        self.number = number
        self.cells = cells

    def fault(self, column: str, what: str) -> None:
        self.sheet.faults.append(f"{self.sheet.name}, row {self.number}, column {column}: {what}")

    def text(self, column: str) -> str:
        """What the cell holds, or empty."""
        return self.cells[column]

    def needed(self, column: str) -> str:
        if not self.cells[column]:
            self.fault(column, "must not be empty")
        return self.cells[column]

    def matching(self, column: str, pattern: str, what: str, *, optional: bool = False) -> str:
        """A cell of a given form; `what` names the form: `a code of five digits`."""
        value = self.cells[column]
        if (value or not optional) and not re.fullmatch(pattern, value):
            self.fault(column, f"must be {what}, not {value!r}")
        return value

    def choice(self, column: str, allowed: Iterable[str]) -> str:
        value = self.cells[column]
        if value not in (options := list(allowed)):
            self.fault(column, f"must be {_either(options)}, not {value!r}")
        return value

    def decimal(self, column: str, low: float, high: float) -> float:
        """A number with a decimal point, from `low` to `high`."""
        return self._read(column, _number(float, low, high), f"a number from {low:g} to {high:g}", low)

    def whole(self, column: str, low: int, high: int) -> int:
        return self._read(column, _number(int, low, high), f"a whole number from {low} to {high}", low)

    def partial_date(self, column: str) -> date | None:
        """`2024-01-29`, `2024-01`, `2024` or empty: the first day it can mean."""
        value = self.cells[column]
        if not value:
            return None
        wanted = "a date such as 2024-01-29, 2024-01 or 2024"
        return self._read(column, lambda text: date.fromisoformat((text + "-01-01")[:10]), wanted, date.min)

    def _read(self, column: str, read: Callable[[str], T], what: str, instead: T) -> T:
        value = self.cells[column]
        try:
            return read(value)
        except ValueError:
            self.fault(column, f"must be {what}, not {value!r}")
            return instead


class Sheet:
    """A CSV file with exactly the columns expected of it (`columns`: their names between spaces)."""

    def __init__(self, path: Path, columns: str, faults: list[str]) -> None:
        self.name = path.name
        self.faults = faults
        self.rows = list(self._rows(path, columns.split()))

    def _rows(self, path: Path, columns: list[str]) -> Iterator[Row]:
        text = read_text(path, self.faults)
        if text is None:
            return
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = next(lines, [])
            if not self._header_fits(header, columns):
                return
            for number, cells in enumerate(lines, start=2):
                if len(cells) != len(header):
                    where = f"{self.name}, row {number}"
                    self.faults.append(f"{where}: has {len(cells)} cells where the header has {len(header)}")
                    continue
                yield Row(self, number, dict(zip(header, (cell.strip() for cell in cells), strict=True)))
        except csv.Error as error:
            self.faults.append(f"{self.name}, line {lines.line_num}: not readable as CSV ({error})")

    def _header_fits(self, header: list[str], columns: list[str]) -> bool:
        missing = [column for column in columns if column not in header]
        strange = [column for column in header if column not in columns]
        if len(set(header)) != len(header):
            strange.append("a column twice")
        for column in missing:
            self.faults.append(f"{self.name}, row 1: column {column} is missing")
        for column in strange:
            self.faults.append(f"{self.name}, row 1: unknown column {column!r}")
        return not missing and not strange

    def unique(self, column: str, *, among: Callable[[Row], bool] = lambda row: True) -> None:
        """Notes every value of `column` that an earlier row already has; empty cells don't count."""
        first: dict[str, int] = {}
        for row in self.rows:
            value = row.cells[column]
            if not value or not among(row):
                continue
            if value in first:
                row.fault(column, f"{value!r} is already in row {first[value]}")
            else:
                first[value] = row.number


def read_text(path: Path, faults: list[str]) -> str | None:
    """A file's text; None, with the fault noted, when it is not there or not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        faults.append(f"{path.name}: cannot be read ({error.strerror})")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.append(f"{path.name}, line {line}: is not UTF-8 text (byte 0x{data[error.start]:02x})")
        return None


def _number(kind: Callable[[str], T], low: float, high: float) -> Callable[[str], T]:
    def read(text: str) -> T:
        if not text.isascii() or "_" in text:
            raise ValueError(text)
        value = kind(text)
        if not low <= value <= high:  # type: ignore[operator]  # int or float; a NaN is in no range
            raise ValueError(text)
        return value

    return read


def _either(options: list[str]) -> str:
    names = [repr(option) if option else "empty" for option in options]
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
