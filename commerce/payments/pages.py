"""The way to the card page."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from commerce.core.settings import Settings
from commerce.core.web import access
from commerce.payments import cards


@get("/orders/{code:str}/pay", opt=access.public)
async def pay(
    code: FromPath[str], settings: NamedDependency[Settings], key: Annotated[str, QueryParameter()] = ""
) -> Response[str]:
    """On to the card company's page for this order."""
    url = await cards.checkout_url(settings, code, key)
    return Response("", status_code=303, headers={"Location": url, "Cache-Control": "no-store"})


ROUTES = [pay]
