"""What may come: the next session of each commune, products' next week, and who is likely to turn red."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from litestar import Response, get
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics import forecast, periods, queries, signals
from commerce.analytics.forecast import Outlook, Past
from commerce.analytics.queries import CommuneFigures
from commerce.analytics.signals import Colour, Kind, Rule
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.html import number
from commerce.core.i18n import N_, translate
from commerce.core.roles import Role
from commerce.core.web import AnyRequest, access, page

SOON_DAYS = 7
SLOT_NAMES = (
    N_("sáng ngày thường"),
    N_("chiều ngày thường"),
    N_("tối ngày thường"),
    N_("sáng cuối tuần"),
    N_("chiều cuối tuần"),
    N_("tối cuối tuần"),
)

_PLANNED = text("""
    SELECT commune_code, min(starts_at) AS at FROM live_session
    WHERE state = 'scheduled' AND NOT rehearsal AND starts_at > now() - interval '1 hour'
    GROUP BY commune_code
""")


async def planned(db: AsyncSession) -> dict[str, datetime]:
    """Each commune's next planned session."""
    return {row.commune_code: row.at for row in await db.execute(_PLANNED)}


@get("/province/forecast", opt=access.roles(Role.PROVINCE))
async def outlooks(request: AnyRequest) -> Response[str]:
    today = clock.today()
    chosen = periods.last_days(until=today)
    async with sessions.read() as db:
        past = await forecast.past_sessions(db, today)
        coming = await planned(db)
        now = await queries.period(db, chosen.first, chosen.last)
        earlier = chosen.before()
        before = await queries.period(db, earlier.first, earlier.last)
        rules = await signals.current_rules(db)
        products = await forecast.products_next_week(db, today)
    judged = signals.judge_all(now, before, rules, chosen, today)
    told = await asyncio.to_thread(forecast.next_sessions, past, coming, today)
    own: dict[str, list[Past]] = {}
    for one in past["views"]:
        own.setdefault(one.commune, []).append(one)
    names = {figures.code: figures for figures in now}
    return page(
        request,
        "province/forecast.html",
        communes=[
            {
                "figures": figures,
                "signal": judged[figures.code],
                "planned": coming.get(figures.code),
                "cells": [_words(told.get(figures.code, {}).get(kind)) for kind in forecast.KINDS],
                "advice": _advice(own.get(figures.code, [])),
            }
            for figures in now
        ],
        warnings=_warnings(now, judged, told, coming, rules, today),
        products=[
            {**one, "commune": names[one["commune"]].short_name, "words": _words(one["outlook"])}
            for one in sorted(products, key=_expected, reverse=True)[:60]
        ],
    )


def _expected(product: Mapping[str, Any]) -> float:
    outlook: Outlook | None = product["outlook"]
    return -1.0 if outlook is None else outlook.expected


def _words(outlook: Outlook | None) -> str:
    """`1.200 (800 – 1.900)`."""
    if outlook is None:
        return translate(N_("chưa đủ dữ liệu"))
    expected, low, high = (number(round(value)) for value in (outlook.expected, outlook.low, outlook.high))
    return f"{expected} ({low} – {high})"


def _advice(past: Sequence[Past]) -> str:
    found = forecast.advice(past[-40:])
    if found is None:
        return ""
    best, usual, times = found
    sentence = N_("Phiên {best} có gấp {times} lần lượt xem so với phiên {usual}.")
    values = {"best": translate(SLOT_NAMES[best]), "usual": translate(SLOT_NAMES[usual])}
    return translate(sentence).format(times=number(round(times, 1)), **values)


def _warnings(
    now: Sequence[CommuneFigures],
    judged: Mapping[str, signals.Signal],
    told: Mapping[str, Mapping[str, Outlook | None]],
    coming: Mapping[str, datetime],
    rules: Sequence[Rule],
    today: date,
) -> list[dict[str, Any]]:
    """Communes that are not red yet and will be within a week if nothing happens: silence that runs out with
    no session planned; an expected audience below what the trend rule allows."""
    silence = [rule for rule in rules if rule.kind is Kind.SILENCE]
    trend = [rule for rule in rules if rule.kind is Kind.TREND and rule.measure == "views"]
    made = []
    for figures in now:
        if judged[figures.code].colour is Colour.RED:
            continue
        reasons = []
        for rule in silence:
            if figures.last_on is None or figures.code in coming:
                continue
            left = round(rule.red) - (today - figures.last_on).days
            if left <= SOON_DAYS:
                sentence = N_("Còn {days} ngày là đến mốc đỏ vì im tiếng, chưa lên lịch phiên nào.")
                reasons.append(translate(sentence).format(days=max(0, left)))
        outlook = told.get(figures.code, {}).get("views")
        usual = figures.totals.views / figures.totals.sessions if figures.totals.sessions else 0
        for rule in trend:
            if outlook is not None and usual and outlook.high < usual * (1 - rule.yellow):
                reasons.append(translate(N_("Phiên tới có thể vắng hơn hẳn mức gần đây.")))
        if reasons:
            made.append({"figures": figures, "signal": judged[figures.code], "reasons": reasons})
    return made


ROUTES = [outlooks]
