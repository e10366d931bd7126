"""Pages and fragments: Jinja2 with our filters, escaping everything, sentences through gettext."""

from __future__ import annotations

from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from babel.dates import format_datetime, format_time
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response
from litestar.enums import MediaType

from commerce.core import clock
from commerce.core import static as static_files
from commerce.core.i18n import current_language, ntranslate, translate
from commerce.core.money import Money, format_money

TEMPLATES = Path(__file__).parents[2] / "templates"
STATIC = TEMPLATES / "static"

AnyRequest = Request[Any, Any, Any]


def static(path: str) -> str:
    """The address of a file under templates/static that changes whenever any of them does."""
    return static_files.address(path)


def money(amount: int | Money) -> str:
    """185000 -> `185.000 ₫`."""
    return format_money(amount if isinstance(amount, Money) else Money(amount))


def number(value: float) -> str:
    """150000 -> `150.000`; English readers get `150,000`."""
    text = f"{value:,}"
    return text if current_language.get() == "en" else text.translate(str.maketrans(",.", ".,"))


def day(value: date | datetime | None) -> str:
    """`24/08/2025`."""
    if value is None:
        return ""
    return f"{_local(value):%d/%m/%Y}"  # babel takes a hundred times as long for the same


def time(value: datetime) -> str:
    """`19:30` on a clock in Vietnam."""
    return format_time(clock.local(value), "HH:mm", tzinfo=clock.VIETNAM)


def moment(value: datetime | None) -> str:
    """`19:30, Thứ Bảy 24/08`."""
    if value is None:
        return ""
    lang = current_language.get()
    return format_datetime(clock.local(value), "HH:mm, EEEE dd/MM", tzinfo=clock.VIETNAM, locale=lang)


def quantity(value: int, unit: str) -> str:
    """`2 kg`, `3 thùng`."""
    return f"{number(value)} {unit_name(unit)}"


def unit_name(unit: str) -> str:
    names = {"kg": "kg", "box": translate("thùng"), "tonne": translate("tấn"), "piece": translate("cái")}
    return names.get(unit, unit)


def _local(value: date | datetime) -> date:
    return clock.local(value) if isinstance(value, datetime) else value


@cache
def environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        # Templates change with a deploy only; looking at the disk for each page costs more than rendering.
        auto_reload=False,
    )
    # Sentences take their values by str.format, as in Python; the result is escaped like any text.
    env.install_gettext_callables(translate, ntranslate, newstyle=False)  # type: ignore[attr-defined]
    env.filters |= {
        "money": money,
        "number": number,
        "date": day,
        "time": time,
        "datetime": moment,
        "quantity": quantity,
        "unit_name": unit_name,
    }
    env.globals |= {"static": static, "now": clock.now}
    return env


def render(request: AnyRequest, name: str, /, **context: Any) -> str:
    """The template's text with what every page knows: viewer, lang, demo, path."""
    settings = request.app.state.settings
    return (
        environment()
        .get_template(name)
        .render(
            viewer=request.scope["state"].get("identity"),
            lang=current_language.get(),
            demo=settings.demo,
            path=request.url.path,
            settings=settings,
            **context,
        )
    )


def page(
    request: AnyRequest,
    name: str,
    /,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **context: Any,
) -> Response[str]:
    """A whole page, or a fragment when the template is one."""
    return Response(
        render(request, name, **context),
        media_type=MediaType.HTML,
        status_code=status,
        headers={
            "Cache-Control": "no-store",
            "Vary": "HX-Request, Accept-Language, Cookie",
            **(headers or {}),
        },
    )


def redirect(to: str, *, status: int = 303) -> Response[str]:
    """See other: after a form was taken, so that reloading does not send it again."""
    if not to.startswith("/") or to.startswith(("//", "/\\")):
        to = "/"  # never out of the market
    return Response("", status_code=status, headers={"Location": to})


__all__ = ["AnyRequest", "environment", "page", "redirect", "render", "static"]
