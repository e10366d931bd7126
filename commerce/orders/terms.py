"""What was agreed on: kept as it stood when the order was placed, and read back months later.

Writing it while thousands order at once would cost the desk; a job does it seconds later, before anybody can
change a listing and have it reviewed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core.db import sessions
from commerce.orders.models import OrderTerms

_TERMS = """
    SELECT o.id, jsonb_build_object(
        'seller', jsonb_build_object('name', s.name, 'kind', s.kind, 'address', s.address, 'phone', s.phone,
            'registration', s.registration, 'commune', c.name),
        'goods', (SELECT jsonb_object_agg(l.grade_id::text, jsonb_build_object(
                'origin', p.origin, 'shelf_life', p.shelf_life, 'stars', (SELECT r.stars FROM recognition r
                    WHERE r.product_id = p.id AND r.granted_on <= o.placed_at::date
                        AND r.expires_on >= o.placed_at::date AND r.withdrawn_on IS NULL
                    ORDER BY r.granted_on DESC LIMIT 1)))
            FROM order_line l JOIN grade g ON g.id = l.grade_id JOIN product p ON p.id = g.product_id
            WHERE l.order_id = o.id)) AS terms
    FROM "order" o JOIN seller s ON s.id = o.seller_id JOIN commune c ON c.code = s.commune_code
"""
_KEEP = text(f"""
    INSERT INTO order_terms (order_id, terms) {_TERMS}
    WHERE o.id > coalesce((SELECT max(order_id) FROM order_terms), 0) - 10000
        AND NOT EXISTS (SELECT 1 FROM order_terms t WHERE t.order_id = o.id)
    ORDER BY o.id LIMIT 2000
    ON CONFLICT DO NOTHING
""")  # noqa: S608 - our own text; looks back a little: ids are given before they are committed
_ONE = text(f"{_TERMS} WHERE o.id = :order")


async def keep_terms() -> None:
    """Of every new order. A job, safe to repeat."""
    while True:
        async with sessions.begin() as db:
            kept: Any = await db.execute(_KEEP)
        if kept.rowcount < 2000:
            return


async def terms_of(db: AsyncSession, order_id: int) -> dict[str, Any]:
    """As kept; of an order that is seconds old, as they stand now."""
    kept = await db.get(OrderTerms, order_id)
    if kept is not None:
        return kept.terms
    found: dict[str, Any] = (await db.execute(_ONE, {"order": order_id})).one().terms
    return found
