"""The province's pages over HTTP: what they say, to whom, and what they let be sent."""

from __future__ import annotations

import csv
import html
import io
import re
from datetime import timedelta
from typing import Any

import httpx
import openpyxl
import pytest
from sqlalchemy import text

from catalog_seed import loader
from commerce.analytics import rollup
from commerce.core import clock
from commerce.core import db as core_db
from commerce.core.roles import Role
from tests import factories
from tests.analytics import reference as ref
from tests.analytics import worlds
from tests.analytics.test_api import SignIn, code_of, played, sign_in

__all__ = ["sign_in"]

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40
PERIOD = {"from": "2025-08-24", "to": "2025-08-25"}


@pytest.fixture
async def market(app: object) -> worlds.Stage:
    """All 102 communes, one of them with two sessions that are over and counted."""
    await loader.seed()
    stage = await worlds.set_stage()
    await played(stage)
    for session_id in stage.session_ids:
        await rollup.roll_up_session(session_id)
    return stage


async def get(client: httpx.AsyncClient, path: str, headers: dict[str, str], **params: str) -> str:
    answer = await client.get(path, params=params, headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    return answer.text


async def test_the_map_has_all_102_each_with_its_colour_and_reason(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    page = await get(client, "/province", await sign_in(Role.PROVINCE), **PERIOD)
    drawn = re.findall(r'<path class="land" d="[^"]+" fill="url\(#p-(\w+)\)"><title>([^<]+)</title>', page)
    assert len(drawn) == 102
    reasons = {title.split(":")[0]: (colour, title) for colour, title in drawn}
    assert reasons["Xã Ea Knuếc"][0] == "green"
    assert reasons["Phường Buôn Ma Thuột"] == ("red", "Phường Buôn Ma Thuột: Đỏ. Chưa có phiên nào.")
    assert len(re.findall(r'<a class="tile tile-', page)) == 102
    paths = re.findall(r'<path class="land" d="([^"]+)"', page)
    assert all(re.fullmatch(r"(M\d+ \d+l(-?\d+ -?\d+ ?)+z)+", path) for path in paths)


async def test_outlines_lie_where_their_communes_are(client: httpx.AsyncClient, market: worlds.Stage) -> None:
    from commerce.analytics import pictures

    async with core_db.sessions.read() as db:
        drawn = await pictures.province_map(db)
        codes = {
            row.short_name: row.code for row in await db.execute(text("SELECT short_name, code FROM commune"))
        }
    place = {name: drawn.outlines[code] for name, code in codes.items()}
    assert place["Tuy Hòa"].x > place["Ea Knuếc"].x > place["Buôn Đôn"].x, "the sea is in the east"
    assert place["Ea Súp"].y < place["Buôn Ma Thuột"].y < place["Krông Nô"].y, "north is up"


async def test_sorting_filtering_and_colours_narrow_the_table(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    headers = await sign_in(Role.PROVINCE)
    page = await get(client, "/province", headers, sort="orders", kind="xã", **PERIOD)
    rows = re.findall(r'<th scope="row" class="stick"><a href="/province/communes/(\d+)', page)
    assert len(rows) == 88
    assert rows[0] == factories.EA_KNUEC
    green = await get(client, "/province", headers, colour="green", **PERIOD)
    assert len(re.findall(r'<th scope="row" class="stick"><a', green)) == 1


async def test_a_filter_by_goods_keeps_the_sessions_that_offered_them(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    headers = await sign_in(Role.PROVINCE)

    async def counted(**wanted: str) -> str:
        answer = await client.get("/province/export.csv", params=PERIOD | wanted, headers=headers)
        (own,) = [row for row in csv.reader(answer.text.splitlines()) if row[0] == factories.EA_KNUEC]
        return own[4]

    assert await counted() == "2"
    assert await counted(product="sau rieng") == "2", "tone marks do not matter"
    assert await counted(product="Thổ cẩm") == "0"
    assert await counted(industry="handicraft") == "0"
    page = await get(client, "/province", headers, product="SẦU", **PERIOD)
    assert 'value="SẦU"' in page
    assert "người xem không được đếm" in page
    row = page.split(f'value="{factories.EA_KNUEC}"')[1].split("</tr>")[0]
    assert re.findall(r'<td class="num">([^<]+)</td>', row)[:3] == ["2", "5", "–"], (
        "no viewers is not 0 viewers"
    )


async def test_a_session_page_shows_every_figure_with_its_definition(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    code = await code_of(market.session_ids[0])
    page = await get(client, f"/province/sessions/{code}", await sign_in(Role.HOST))
    for words in ("260.000 ₫", "Lượt xem từ 10 giây trở lên.", "Giá trị đặt hàng", "Mã QR", "17:00"):
        assert words in page, words
    behind = await get(client, f"/province/sessions/{code}/rows", await sign_in(Role.HOST), what="orders")
    assert "190000" in behind
    assert "helper" in behind


async def test_nobody_is_followed_from_session_to_session(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    """v1 was in both; the rows behind the figures name them, but otherwise in each."""
    headers, names = await sign_in(Role.HOST), []
    for session_id in market.session_ids:
        code = await code_of(session_id)
        page = await get(client, f"/province/sessions/{code}/rows", headers, what="visits")
        assert ">v1<" not in page
        names.append(set(re.findall(r"<td[^>]*>([0-9a-f]{8})</td>", page)))
    assert [len(some) for some in names] == [3, 1]
    assert not names[0] & names[1]
    code = await code_of(market.session_ids[0])
    events = await get(client, f"/province/sessions/{code}/rows", headers, what="events")
    assert set(re.findall(r"<td[^>]*>([0-9a-f]{8})</td>", events)) < names[0], "within one session the same"


async def test_a_commune_is_not_shown_to_its_neighbour(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    code = await code_of(market.session_ids[0])
    other = await sign_in(Role.OFFICER, "24490")
    for path in (
        f"/province/sessions/{code}",
        f"/province/sessions/{code}/rows",
        f"/province/communes/{factories.EA_KNUEC}",
        "/province",
    ):
        assert (await client.get(path, headers=other)).status_code == 403, path
    assert "Ea Knuếc" in await get(
        client, f"/province/communes/{factories.EA_KNUEC}", await sign_in(Role.OFFICER)
    )


async def test_two_to_five_communes_are_compared(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    headers = await sign_in(Role.PROVINCE)
    answer = await client.get(
        "/province/compare", params={"c": ["24505", "24490"], **PERIOD}, headers=headers
    )
    assert answer.status_code == 200
    assert len(re.findall('<figure class="multiple">', answer.text)) == 2
    one = await client.get("/province/compare", params={"c": "24505"}, headers=headers)
    assert one.status_code == 422


async def test_rules_are_set_by_form_and_change_the_colours(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    headers = await sign_in(Role.PROVINCE)
    form = {"kind-0": "below", "measure-0": "cvr", "yellow-0": "99", "red-0": "80,5"}
    assert (await client.post("/province/rules", data=form, headers=headers)).status_code == 303
    page = await get(client, "/province", headers, **PERIOD)
    assert "Tỷ lệ mua 66,7 %, dưới mốc 80,5 %." in page
    bad = await client.post("/province/rules", data=form | {"red-0": "nhiều"}, headers=headers)
    assert bad.status_code == 422
    assert "Xin ghi một số." in bad.text


async def test_tables_leave_as_csv_and_xlsx(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    headers = await sign_in(Role.PROVINCE)
    answer = await client.get("/province/export.csv", params=PERIOD, headers=headers)
    lines = answer.content.decode("utf-8-sig").splitlines()
    assert len(lines) == 103
    (own,) = [line for line in lines if line.startswith("24505,")]
    assert own.startswith("24505,Xã Ea Knuếc,Xanh,Đạt mọi mốc của tỉnh.,2,")
    answer = await client.get("/province/sessions.xlsx", params=PERIOD, headers=headers)
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).active
    assert sheet is not None
    rows = list(sheet.iter_rows(values_only=True))
    assert len(rows) == 3
    assert 260_000 in rows[1]
    assert (await client.get("/province/secrets.csv", headers=headers)).status_code == 404


async def test_every_table_on_a_screen_is_a_file(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    province, host = await sign_in(Role.PROVINCE), await sign_in(Role.HOST)
    code = await code_of(market.session_ids[0])
    session = f"/province/sessions/{code}/tables"

    async def rows(path: str, headers: dict[str, str], **params: Any) -> list[list[str]]:
        answer = await client.get(path, params=params, headers=headers)
        assert answer.status_code == 200, (path, answer.text[:300])
        return list(csv.reader(answer.content.decode("utf-8-sig").splitlines()))

    measures = {row[0]: row[1] for row in await rows(f"{session}/chi-so.csv", host)}
    assert (measures["Lượt xem"], measures["Giá trị đặt hàng (₫)"]) == ("4", "260000")
    minutes = await rows(f"{session}/tung-phut.csv", host)
    assert len(minutes) == 11
    assert minutes[1][0] == "2025-08-24 17:00:00"
    goods = await rows(f"{session}/hang.csv", host)
    assert [row[0] for row in goods[1:]] == ["A1", "A2"]
    assert {row[0] for row in (await rows(f"{session}/nguon.csv", host))[1:]} == {"zalo", "qr", "helper"}
    for name in ("ghim", "uu-dai"):
        assert len(await rows(f"{session}/{name}.csv", host)) == 3
    assert (await rows(f"{session}/xem-bao-lau.csv", host))[1] == ["0", "4"]
    whole = await client.get(f"{session}/phien.xlsx", headers=host)
    assert len(openpyxl.load_workbook(io.BytesIO(whole.content)).sheetnames) == 7
    own = f"/province/communes/{factories.EA_KNUEC}/tables/cac-phien"
    assert len(await rows(f"{own}.csv", host, **PERIOD)) == 3
    both = {"c": [factories.EA_KNUEC, "24490"], **PERIOD}
    compared = await rows("/province/compare/tables/so-sanh.csv", province, **both)
    assert len(compared[0]) == 4
    assert ["Đơn", "2", "0"] in [row[:3] for row in compared]
    assert len(await rows("/province/forecast/tables/phien-toi.csv", province)) >= 1
    assert (await client.get("/province/forecast/tables/du-bao.xlsx", headers=province)).status_code == 200
    assert len(await rows("/province/reports/tables/bao-cao.csv", host)) == 1
    assert (await client.get(f"{session}/passwords.csv", headers=host)).status_code == 404
    stranger = await sign_in(Role.OFFICER, "24490")
    for path in (f"{session}/phien.xlsx", f"{own}.csv"):
        assert (await client.get(path, headers=stranger)).status_code == 403, path
    assert (await client.get("/province/forecast/tables/du-bao.xlsx", headers=host)).status_code == 403


async def test_a_cell_that_begins_like_a_formula_is_text(market: worlds.Stage) -> None:
    from commerce.core.tables import Table, as_csv, as_xlsx

    table = Table("t", ["a"], [["=1+1"], ["@x"], [3]])
    assert as_csv(table).decode("utf-8-sig").split() == ["a", "'=1+1", "'@x", "3"]
    sheet = openpyxl.load_workbook(io.BytesIO(as_xlsx([table]))).active
    assert sheet is not None
    assert sheet["A2"].value == "=1+1"
    assert sheet["A2"].data_type == "s"


async def test_ocop_products_leave_by_the_ministrys_columns(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    async with core_db.sessions.begin() as db:
        await db.execute(
            text("""
                INSERT INTO recognition (product_id, stars, decision, issuer, granted_on, expires_on)
                SELECT id, 4, 'QĐ 1', 'UBND tỉnh', '2025-01-01', '2027-12-31' FROM product
            """)
        )
    params = {"from": "2025-01-01", "to": "2025-12-31"}
    answer = await client.get("/province/PTNT_OCOP.csv", params=params, headers=await sign_in(Role.PROVINCE))
    head, row = answer.content.decode("utf-8-sig").splitlines()
    assert head == (
        "MA_OCOP,Ma_DonViHanhChinh,Ma_ThoiGian,Ma_SanPham,TenSanPham,XepHang,ChuTheSXKD,DoanhThuNam,TrangThai"
    )
    assert row.split(",")[1:3] == ["24505", "2025"]
    assert ",4," in row
    assert ",260000," in row


async def test_outside_reach_is_reported_with_proof_and_stands_apart(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn, settings: object
) -> None:
    code = await code_of(market.session_ids[0])
    path, host = f"/province/sessions/{code}/outside", await sign_in(Role.HOST)
    bare = await client.post(
        path, files={"network": (None, "tiktok"), "reach": (None, "700000")}, headers=host
    )
    assert bare.status_code == 422
    sent = await client.post(
        path,
        data={"network": "tiktok", "reach": "700.000", "views": "150000"},
        files={"proof": ("a.png", PNG, "image/png")},
        headers=host,
    )
    assert sent.status_code == 303, sent.text[:300]
    api = f"/api/v1/analytics/live-sessions/{code}"
    body = (await client.get(api, headers=host)).json()
    assert [(o["network"], o["reach"], o["read_from_api"]) for o in body["outside"]] == [
        ("tiktok", 700_000, False)
    ]
    assert body["measures"]["reach"] == 3, "never added to ours"
    page = await get(client, f"/province/sessions/{code}", host)
    (link,) = re.findall(r'href="(/province/sessions/\w+/outside/\d+)"', page)
    picture = await client.get(link, headers=host)
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
    stranger = await sign_in(Role.HOST, "24490")
    other = await client.post(
        path,
        data={"network": "tiktok", "reach": "1"},
        files={"proof": ("a.png", PNG, "image/png")},
        headers=stranger,
    )
    assert other.status_code == 403
    assert (await client.post(f"{link}/withdraw", headers=host)).status_code == 303
    assert (await client.get(api, headers=host)).json()["outside"] == []


async def test_what_is_on_air_is_shown_with_its_orders(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    headers = await sign_in(Role.PROVINCE)
    assert "không có phiên nào" in await get(client, "/province/live", headers)
    async with core_db.sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        await factories.live_session(db, host, {}, code="SANGNAY")
    page = await get(client, "/province/live", headers)
    assert "/province/sessions/SANGNAY" in page


async def test_every_commune_is_drawn_under_its_own_name_where_and_as_large_as_it_is(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    page = await get(client, "/province", await sign_in(Role.PROVINCE), **PERIOD)
    drawn = re.findall(
        r'href="/province/communes/(\d+)[^"]*"><path class="land" d="([^"]+)"[^>]*><title>([^:]+):', page
    )
    async with core_db.sessions.read() as db:
        query = text("SELECT code, name, area_km2, lat, lon FROM commune")
        known = {row.code: row for row in await db.execute(query)}
    assert {code: html.unescape(name) for code, _, name in drawn} == {
        code: row.name for code, row in known.items()
    }
    boxes = {code: box(path) for code, path, _ in drawn}
    west, north = min(b[0] for b in boxes.values()), min(b[1] for b in boxes.values())
    east, south = max(b[2] for b in boxes.values()), max(b[3] for b in boxes.values())
    lons, lats = [row.lon for row in known.values()], [row.lat for row in known.values()]
    scale = sum(b[4] for b in boxes.values()) / sum(float(row.area_km2) for row in known.values())
    for code, (left, top, right, bottom, area) in boxes.items():
        row = known[code]
        # From degrees to the grid by the extreme communes' places, so without the code under test.
        x = (row.lon - min(lons)) / (max(lons) - min(lons))
        y = (max(lats) - row.lat) / (max(lats) - min(lats))
        assert abs((left + right) / 2 - west - x * (east - west)) < 0.12 * (east - west), row.name
        assert abs((top + bottom) / 2 - north - y * (south - north)) < 0.12 * (south - north), row.name
        assert 0.7 < area / (scale * float(row.area_km2)) < 1.4, (row.name, area)


def box(path: str) -> tuple[int, int, int, int, float]:
    """West, north, east, south and area of an outline."""
    points: list[tuple[int, int]] = []
    area = 0.0
    for ring in re.findall(r"M(\d+) (\d+)l([^z]*)z", path):
        x, y = int(ring[0]), int(ring[1])
        steps = [int(number) for number in ring[2].split()]
        corners = [(x, y)]
        for dx, dy in zip(steps[::2], steps[1::2], strict=True):
            x, y = x + dx, y + dy
            corners.append((x, y))
        pairs = zip(corners, [*corners[1:], corners[0]], strict=True)
        area += abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2
        points += corners
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys), area


async def test_residents_are_entered_with_day_and_source_and_compare_fairly(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn
) -> None:
    headers = await sign_in(Role.PROVINCE)
    path, ea_knuec, ea_kao = "/province/residents", factories.EA_KNUEC, "24169"
    form = {f"people-{ea_knuec}": "1.250", "as_of": "2025-07-01", "source": "Cục Thống kê"}
    for bad, field in (
        ({"source": ""}, "source"),
        ({"as_of": "2199-01-01"}, "as_of"),
        ({f"people-{ea_knuec}": "hai vạn"}, f"people-{ea_knuec}"),
        ({f"people-{ea_knuec}": "3"}, f"people-{ea_knuec}"),
    ):
        refused = await client.post(path, data=form | bad, headers=headers)
        assert refused.status_code == 422
        assert re.search(rf'name="{field}"[^>]*aria-invalid', refused.text), field
    assert "–" in await get(client, path, headers)
    assert (await client.post(path, data=form, headers=headers)).status_code == 303
    page = await get(client, path, headers)
    assert f'name="people-{ea_knuec}" inputmode="numeric" autocomplete="off" value="1.250"' in page
    assert "01/07/2025" in page
    side_by_side = await client.get(
        "/province/compare", params={"c": [ea_knuec, ea_kao], **PERIOD}, headers=headers
    )
    rows = re.findall(r'<th scope="row">([^<]+)</th><td class="num[^"]*">([^<]+)<', side_by_side.text)
    async with core_db.sessions.read() as db:
        views = await db.scalar(text("SELECT sum(views) FROM session_rollup"))
    assert ("Lượt xem trên 1.000 dân", f"{int(views or 0) / 1.25:.1f}".replace(".", ",")) in rows
    assert (await client.post(path, data={f"people-{ea_knuec}": ""}, headers=headers)).status_code == 303
    async with core_db.sessions.read() as db:
        assert await db.scalar(text("SELECT count(*) FROM residents")) == 0
    helper = await sign_in(Role.HELPER)
    assert (await client.get(path, headers=helper)).status_code == 403


async def test_when_viewers_left_is_told_with_what_was_going_on(
    client: httpx.AsyncClient, app: object, sign_in: SignIn
) -> None:
    await loader.seed()
    stage = await worlds.set_stage()
    session, start = stage.session_ids[0], worlds.START
    world = ref.World({session: ref.Session(session, start, start + 600_000, ["A1"])})
    for n in range(30):  # two leave in each minute, twelve in the fifth
        left = (n // 2 + 1) * 60_000 - 10_000 if n < 18 else 4 * 60_000 + 30_000
        world.visits.append(ref.Visit(session, f"v{n}", "qr", start, start + left, str(n)))
    async with core_db.sessions.begin() as db:
        await worlds.store(db, stage, world)
        await db.execute(
            text("UPDATE pin SET at = :at WHERE live_session_id = :id"),
            {"at": worlds.moment(start + 4 * 60_000 + 5_000), "id": session},
        )
    await rollup.roll_up_session(session)
    page = await get(client, f"/province/sessions/{await code_of(session)}", await sign_in(Role.PROVINCE))
    section = page.split('aria-labelledby="h-left"')[1].split("</section>")[0]
    found = re.findall(r"(\d+) lượt rời, bằng ([\d,]+) %", section)
    assert [left for left, _ in found] == ["14"]  # elsewhere two left, which nobody needs to be told
    assert "vừa ghim A1" in section


async def test_the_picture_of_a_minute_is_shown_to_those_who_may_read(
    client: httpx.AsyncClient, market: worlds.Stage, sign_in: SignIn, s3: Any, s3_bucket: str
) -> None:
    code, minute = await code_of(market.session_ids[0]), 29_270_000
    path = f"/province/sessions/{code}/still"
    headers = await sign_in(Role.PROVINCE)
    s3.put_object(Bucket=s3_bucket, Key=f"video/{code}/stills/{minute}.jpg", Body=b"\xff\xd8picture")
    assert (await client.get(f"{path}/{minute}", headers=headers)).status_code == 404  # no camera was there
    async with core_db.sessions.begin() as db:
        await db.execute(text("UPDATE live_session SET playback = '/media/x/index.m3u8'"))
    for asked, status in ((minute, 200), (minute + 2, 200), (minute + 9, 404), (minute - 1, 404)):
        answer = await client.get(f"{path}/{asked}", headers=headers)
        assert answer.status_code == status, asked
    assert (await client.get(f"{path}/{minute}", headers=headers)).content == b"\xff\xd8picture"
    async with core_db.sessions.begin() as db:
        await factories.commune(db, "24121", "Ea Drăng")
        other = await factories.token(db, await factories.person(db, Role.HOST, commune_code="24121"))
    refused = await client.get(f"{path}/{minute}", headers={"Authorization": f"Bearer {other}"})
    assert refused.status_code == 403
    s3.put_object(Bucket=s3_bucket, Key=f"video/{code}/gone.json", Body=b"{}")
    assert (await client.get(f"{path}/{minute}", headers=headers)).status_code == 404  # taken down


async def test_the_forecast_warns_of_silence_and_says_when_it_knows_too_little(
    client: httpx.AsyncClient, app: object, sign_in: SignIn
) -> None:
    """Two communes were last on air 25 days ago, one has planned the next; a third held three sessions."""
    await loader.seed()
    now = clock.now()
    communes = {factories.EA_KNUEC: 25, "24490": 25, "24121": 3}
    async with core_db.sessions.begin() as db:
        for code, days_ago in communes.items():
            host = await factories.person(db, Role.HOST, commune_code=code)
            for number in range(3 if code == "24121" else 8):
                at = now - timedelta(days=days_ago + 7 * number)
                made = await factories.live_session(db, host, {}, state="ended", code=f"S{code}{number}")
                await db.execute(
                    text(
                        "UPDATE live_session SET commune_code = :commune, starts_at = :at, started_at = :at,"
                        " ended_at = :ends WHERE id = :id"
                    ),
                    {"commune": code, "at": at, "ends": at + timedelta(hours=1), "id": made},
                )
            if code == "24490":
                made = await factories.live_session(db, host, {}, state="scheduled", code="SOON")
                await db.execute(
                    text("UPDATE live_session SET commune_code = :commune, starts_at = :at WHERE id = :id"),
                    {"commune": code, "at": now + timedelta(days=2), "id": made},
                )
    await rollup.rebuild()
    async with core_db.sessions.begin() as db:
        await db.execute(
            text("UPDATE session_rollup SET views = 20, watched_ms = 2400000, orders = 4, units = 9")
        )
    page = await get(client, "/province/forecast", await sign_in(Role.PROVINCE))
    warned = page.split('aria-labelledby="h-warn"')[1].split("</section>")[0]
    assert re.findall(r'href="/province/communes/(\d+)"', warned) == [factories.EA_KNUEC]
    assert "Còn 5 ngày là đến mốc đỏ vì im tiếng, chưa lên lịch phiên nào." in warned
    coming = page.split('aria-labelledby="h-next"')[1].split("</section>")[0]
    cells = {
        code: re.findall(r'<td class="num">([^<]+)</td>', row)
        for code, row in re.findall(r'communes/(\d+)">(.*?)</tr>', coming, re.DOTALL)
    }
    assert cells["24121"] == ["chưa đủ dữ liệu"] * 3
    assert [cell.split()[0] for cell in cells[factories.EA_KNUEC]] == ["20", "4", "9"]
