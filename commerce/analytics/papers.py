"""A report as PDF and XLSX, with its figures, words and signatures' places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from commerce.analytics.exports import NUMBER_FORMATS
from commerce.analytics.figures import change, show
from commerce.analytics.measures import ALL, BY_KEY
from commerce.analytics.models import ReportState
from commerce.analytics.reports import STATE_NAMES, Opened
from commerce.core import clock
from commerce.core.i18n import N_, translate
from commerce.core.tables import Table, as_xlsx

if TYPE_CHECKING:
    from commerce.core.papers import Paper

ROW_KEYS = ("views", "unique_viewers", "orders", "gmv", "net_sales")
"""What a line about one session or commune says."""


def as_pdf(opened: Opened, *, demo: bool) -> bytes:
    from commerce.core.papers import Paper

    report, figures = opened.report, opened.report.figures
    paper = Paper(f"Chợ Phiên · {opened.commune} · {report.title}")
    if demo:
        paper.line_of(translate(N_("Chợ minh hoạ: số liệu là giả")), 9, "B")
    paper.line_of(opened.commune, 11, "B", 0)
    paper.line_of(report.title, 17, "B", 0)
    state = translate(STATE_NAMES[ReportState(report.state)])
    made = translate(N_("{state} · bản {version} · từ {first} đến {last}")).format(
        state=state,
        version=report.version,
        first=f"{report.first:%d/%m/%Y}",
        last=f"{report.last:%d/%m/%Y}",
    )
    paper.line_of(made, 10, "", 3)
    if report.words:
        paper.line_of(report.words, 11, "", 4)
    heads = (N_("Chỉ số"), N_("Kỳ này"), N_("Kỳ trước"), N_("Thay đổi"))
    paper.table_of([translate(head) for head in heads], _measure_rows(figures), (64, 40, 40, 26))
    parts = figures.get("sessions") or figures.get("communes") or []
    if parts:
        paper.ln(4)
        names = [BY_KEY[key].label() for key in ROW_KEYS]
        what = N_("Phiên") if "sessions" in figures else N_("Xã, phường")
        paper.table_of([translate(what), *names], _part_rows(parts), (62, 20, 22, 16, 27, 27))
    if opened.corrections:
        paper.ln(4)
        paper.line_of(translate(N_("Đính chính sau khi duyệt")), 12, "B")
        rows = [
            [c.measure.label(), show(c.measure.unit, c.reported), show(c.measure.unit, c.now)]
            for c in opened.corrections
        ]
        paper.table_of(
            [translate(N_("Chỉ số")), translate(N_("Đã báo")), translate(N_("Nay"))],
            rows,
            (80, 45, 45),
        )
    _signatures(paper, opened)
    return bytes(paper.output())


def _measure_rows(figures: dict[str, Any]) -> list[list[str]]:
    now, before = figures["measures"], figures["before"]
    return [
        [
            measure.label(),
            show(measure.unit, now.get(measure.key)),
            show(measure.unit, before.get(measure.key)),
            change(now.get(measure.key), before.get(measure.key)),
        ]
        for measure in ALL
    ]


def _part_rows(parts: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            part.get("title") or part["name"],
            *(show(BY_KEY[key].unit, part["measures"].get(key), short=True) for key in ROW_KEYS),
        ]
        for part in parts
    ]


def _signatures(paper: Paper, opened: Opened) -> None:
    paper.ln(4)
    for step in opened.steps:
        state = translate(STATE_NAMES[ReportState(step.after)])
        reason = f": {step.reason}" if step.reason else ""
        at = clock.local(step.at).strftime("%H:%M %d/%m/%Y")
        paper.line_of(f"{at}  {state}  {step.by}{reason}", 9, "", 0)


def as_workbook(opened: Opened) -> bytes:
    """Two sheets: the figures; the sessions or communes."""
    figures = opened.report.figures
    now, before = figures["measures"], figures["before"]
    heads = [
        translate(N_("Chỉ số")),
        translate(N_("Kỳ này")),
        translate(N_("Kỳ trước")),
        translate(N_("Cách tính")),
    ]
    summary = Table(
        translate(N_("Số liệu")),
        [translate(head) for head in heads],
        [
            [measure.label(), now.get(measure.key), before.get(measure.key), translate(measure.definition)]
            for measure in ALL
        ],
    )
    parts = figures.get("sessions") or figures.get("communes") or []
    kept = [measure for measure in ALL if measure.key != "sessions"]
    lines = Table(
        translate(N_("Chi tiết")),
        [translate(N_("Mã")), translate(N_("Tên")), *(measure.label() for measure in kept)],
        [
            [
                *(part["code"], part.get("title") or part["name"]),
                *(part["measures"].get(measure.key) for measure in kept),
            ]
            for part in parts
        ],
        ["", "", *(NUMBER_FORMATS[measure.unit] for measure in kept)],
    )
    return as_xlsx([summary, lines])
