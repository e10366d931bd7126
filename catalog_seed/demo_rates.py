"""Tax rates of the demo market. A real market's are entered by the province, from the text in force."""

from __future__ import annotations

from datetime import date

from sqlalchemy.dialects.postgresql import insert

from commerce.catalog.models import SellerKind
from commerce.core.db import sessions
from commerce.settlement.models import TaxRate

SOURCE = "Minh hoạ, theo Nghị định 117/2025/NĐ-CP; cần đối chiếu với văn bản đang có hiệu lực"
FROM = date(2025, 7, 1)
RATES = (("vat", 100), ("pit", 50))
"""Basis points of a household's sales of goods."""


async def make_rates() -> None:
    """Idempotent."""
    async with sessions.begin() as db:
        rows = [
            {
                "tax": tax,
                "seller_kind": SellerKind.HOUSEHOLD.value,
                "basis_points": points,
                "valid_from": FROM,
                "source": SOURCE,
            }
            for tax, points in RATES
        ]
        await db.execute(insert(TaxRate).values(rows).on_conflict_do_nothing())
