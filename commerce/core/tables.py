"""Tables as files: CSV that Excel opens with its Vietnamese letters, XLSX with numbers that are numbers.

A text that begins like a formula is never taken for one: names come from people.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import xlsxwriter
from litestar import Response

from commerce.core import clock

CSV = "text/csv; charset=utf-8"
PDF = "application/pdf"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    """Of the sheet and the file: letters, digits and hyphens."""
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    formats: Sequence[str] = ()
    """XLSX number format of each column; empty for text."""


def as_csv(table: Table) -> bytes:
    """With a byte order mark, which is how Excel knows UTF-8."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(table.columns)
    writer.writerows([_safe(value) for value in row] for row in table.rows)
    return out.getvalue().encode("utf-8-sig")


def _safe(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    if isinstance(value, datetime):
        return clock.local(value).strftime("%Y-%m-%d %H:%M:%S")
    return "" if value is None else value


def as_xlsx(tables: Iterable[Table]) -> bytes:
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, options) as book:
        head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        for table in tables:
            sheet = book.add_worksheet(table.name[:31])
            sheet.freeze_panes(1, 1)
            formats = [book.add_format({"num_format": kind}) if kind else None for kind in table.formats]
            for number, column in enumerate(table.columns):
                sheet.write_string(0, number, column, head)
                sheet.set_column(number, number, 24 if number < 2 else 14)
            for line, row in enumerate(table.rows, start=1):
                for number, value in enumerate(row):
                    _write(sheet, line, number, value, formats[number] if number < len(formats) else None)
            sheet.autofilter(0, 0, max(1, len(table.rows)), len(table.columns) - 1)
    return out.getvalue()


def _write(sheet: Any, line: int, number: int, value: Any, kind: Any) -> None:
    if value is None:
        return
    if isinstance(value, datetime):
        sheet.write_string(line, number, clock.local(value).strftime("%Y-%m-%d %H:%M:%S"))
    elif isinstance(value, date):
        sheet.write_string(line, number, value.isoformat())
    elif isinstance(value, str):
        sheet.write_string(line, number, value)
    else:
        sheet.write_number(line, number, value, kind)


async def file(tables: Sequence[Table], ending: str, name: str) -> Response[bytes]:
    """An answer to be kept as a file: `csv` of the first table, `xlsx` of all. Made in a thread, for a year
    of rows takes a while."""
    if ending == "csv":
        return attachment(await asyncio.to_thread(as_csv, tables[0]), f"{name}.csv", CSV)
    return attachment(await asyncio.to_thread(as_xlsx, tables), f"{name}.xlsx", XLSX)


def attachment(content: bytes, name: str, kind: str, *, shown: bool = False) -> Response[bytes]:
    """A file under this name, for the person who asked and no cache; `shown` in the browser if it can."""
    how = "inline" if shown else "attachment"
    headers = {"Content-Disposition": f'{how}; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, media_type=kind, headers=headers)
