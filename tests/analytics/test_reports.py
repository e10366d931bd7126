"""A report's whole way between a commune and the province, over HTTP, with two people."""

from __future__ import annotations

import io
import itertools
import re
from datetime import date, timedelta

import httpx
import openpyxl
import pypdf
import pytest
from sqlalchemy import select, text

from commerce.analytics import reports, rollup
from commerce.analytics.models import Report, ReportState
from commerce.analytics.reports import STATES
from commerce.core import db as core_db
from commerce.core.errors import WrongState
from commerce.core.roles import Role
from tests import factories
from tests.analytics import worlds
from tests.analytics.test_api import SignIn, played, sign_in

__all__ = ["sign_in"]

ASK = {"kind": "week", "first": "2025-08-24", "last": "2025-08-30", "due_on": "2025-09-03"}


@pytest.fixture
async def market(app: object) -> worlds.Stage:
    stage = await worlds.set_stage()
    await played(stage)
    for session_id in stage.session_ids:
        await rollup.roll_up_session(session_id)
    return stage


async def the_report(commune_code: str | None = factories.EA_KNUEC) -> Report:
    async with core_db.sessions.read() as db:
        report = await db.scalar(select(Report).where(Report.commune_code == commune_code))
    assert report is not None
    return report


async def say(client: httpx.AsyncClient, path: str, headers: dict[str, str], **form: str) -> httpx.Response:
    return await client.post(f"/province/reports{path}", data=form, headers=headers)


async def test_a_report_goes_up_comes_back_goes_up_and_is_frozen(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    province, commune = await sign_in(Role.PROVINCE), await sign_in(Role.OFFICER)
    assert (await say(client, "", province, **ASK)).status_code == 303
    report = await the_report()
    path = f"/{report.id}"
    page = (await client.get(f"/province/reports{path}", headers=commune)).text
    assert "260.000 ₫" in page, "filled by itself"
    assert "quá hạn" in (await client.get("/province/reports", headers=province)).text

    assert (await say(client, f"{path}/words", commune, words="Bà con phấn khởi.")).status_code == 303
    assert (await the_report()).state == ReportState.DRAFT
    assert (await say(client, f"{path}/decision", province, verdict="approve")).status_code == 409, (
        "nothing was handed in"
    )
    await say(client, f"{path}/words", commune, words="Bà con phấn khởi.", send="1")
    assert (await say(client, f"{path}/decision", commune, verdict="approve")).status_code == 403
    assert (
        await say(client, f"{path}/decision", province, verdict="return", remark="")
    ).status_code == 422, "a return needs a remark"
    await say(client, f"{path}/decision", province, verdict="return", remark="Ghi thêm khó khăn.")
    page = (await client.get(f"/province/reports{path}", headers=commune)).text
    assert "Ghi thêm khó khăn." in page
    await say(client, f"{path}/words", commune, words="Thiếu xe lạnh.", send="1")
    await say(client, f"{path}/decision", province, verdict="approve")
    report = await the_report()
    assert (report.state, report.version) == (ReportState.APPROVED, 2)
    page = (await client.get(f"/province/reports{path}", headers=province)).text
    versions = page.split('class="reasons versions"')[1].split("</ol>")[0]
    assert re.findall(r"<summary>bản (\d+):", versions) == ["2", "1"]
    assert "Bà con phấn khởi." in versions, "what the first one said"
    assert "Số liệu như bản trước." in versions
    assert (await say(client, f"{path}/words", commune, words="Sửa lén")).status_code == 409
    assert (await say(client, f"{path}/words", commune, words="Sửa lén", send="1")).status_code == 409

    async with core_db.sessions.begin() as db:
        await db.execute(text("UPDATE \"order\" SET state = 'refused' WHERE total = 190000"))
    await rollup.roll_up_session(market.session_ids[0])
    opened = await client.get(f"/province/reports{path}", headers=province)
    assert "Đính chính sau khi duyệt" in opened.text
    assert (await the_report()).figures["measures"]["net_sales"] == 260_000, "frozen"


async def test_pdf_and_workbook_say_the_same_in_vietnamese(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    province = await sign_in(Role.PROVINCE)
    await say(client, "", province, **ASK)
    report = await the_report()
    answer = await client.get(f"/province/reports/{report.id}/bao-cao.pdf", headers=province)
    assert answer.headers["content-type"] == "application/pdf"
    words = "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(answer.content)).pages)
    for wanted in ("Xã Ea Knuếc", "Giá trị đặt hàng", "260.000 ₫", "Lượt xem thật sự"):
        assert wanted in words, wanted
    answer = await client.get(f"/province/reports/{report.id}/bao-cao.xlsx", headers=province)
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    rows = {row[0]: row[1] for row in book.worksheets[0].iter_rows(values_only=True)}
    assert rows["Giá trị đặt hàng"] == 260_000
    assert len(list(book.worksheets[1].iter_rows())) == 3


async def test_the_province_combines_what_was_approved(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    province, commune = await sign_in(Role.PROVINCE), await sign_in(Role.HOST)
    await say(client, "", province, **ASK)
    period = {"first": ASK["first"], "last": ASK["last"]}
    assert (await say(client, "/combine", province, **period)).status_code == 422
    report = await the_report()
    await say(client, f"/{report.id}/words", commune, words="", send="1")
    await say(client, f"/{report.id}/decision", province, verdict="approve")
    for version in (1, 2):
        assert (await say(client, "/combine", province, **period)).status_code == 303
        made = await the_report(None)
        assert made.version == version
    assert [part["code"] for part in made.figures["communes"]] == [factories.EA_KNUEC]
    assert made.figures["measures"]["gmv"] == 260_000
    shown = await client.get(f"/province/reports/{made.id}", headers=province)
    assert "Toàn tỉnh" in shown.text
    assert (await client.get(f"/province/reports/{made.id}", headers=commune)).status_code == 403


async def test_neighbours_read_nothing(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    await say(client, "", await sign_in(Role.PROVINCE), **ASK)
    report, other = await the_report(), await sign_in(Role.OFFICER, "24490")
    for path in ("", "/bao-cao.pdf", "/bao-cao.xlsx"):
        answer = await client.get(f"/province/reports/{report.id}{path}", headers=other)
        assert answer.status_code == 403, path
    assert (await say(client, f"/{report.id}/words", other, words="x")).status_code == 403
    assert (await say(client, "", other, **ASK)).status_code == 403


async def test_last_week_and_last_month_open_by_themselves_once(market: worlds.Stage) -> None:
    async with core_db.sessions.read() as db:
        communes = await db.scalar(text("SELECT count(*) FROM commune"))
    assert await reports.open_regular(date(2025, 9, 3)) == 2 * (communes or 0)
    assert await reports.open_regular(date(2025, 9, 5)) == 0
    async with core_db.sessions.read() as db:
        found = await reports.listed(db, frozenset({factories.EA_KNUEC}))
    assert [(one.first, one.last) for one in found] == [
        (date(2025, 8, 25), date(2025, 8, 31)),
        (date(2025, 8, 1), date(2025, 8, 31)),
    ]


async def test_every_pair_of_states(sessions: core_db.Sessions) -> None:
    allowed = {
        ("draft", "submitted"),
        ("submitted", "approved"),
        ("submitted", "returned"),
        ("returned", "submitted"),
    }
    async with core_db.sessions.begin() as db:
        code = await factories.commune(db)
        for number, (before, after) in enumerate(itertools.product(ReportState, repeat=2)):
            day = date(2025, 1, 1) + timedelta(days=number)
            made = Report(
                commune_code=code, kind="week", title="t", first=day, last=day, due_on=day,
                state=before, figures={},
            )  # fmt: skip
            db.add(made)
            await db.flush()
            if (before.value, after.value) in allowed:
                await STATES.transition(db, made.id, before, after)
            else:
                with pytest.raises(WrongState):
                    await STATES.transition(db, made.id, before, after)
