"""What must be true before a session may go live, as the law and good sense ask.

The host's page shows the whole list all the time; `service.start` refuses with what is unmet.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person, RoleGrant
from commerce.catalog.models import Grade, ListingState, Product
from commerce.core.i18n import N_
from commerce.core.roles import Role
from commerce.live.models import LineupItem, LiveSession, LiveState


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    message: str
    """What to do when it is not met; a msgid."""
    met: bool = False


REHEARSED = ("commune", "title", "lineup")
"""What a rehearsal needs: nobody buys there, so verification, rules and papers can still be under way, and it
disturbs no other session."""

ONE_VOICE = Condition("one_voice", N_("Xã đang có một phiên khác lên sóng. Xin kết thúc phiên đó trước."))


async def checklist(db: AsyncSession, live_session_id: int) -> list[Condition]:
    """Every condition, met or not, in the order in which a person mends them."""
    session = await db.get_one(LiveSession, live_session_id)
    host = await db.get(Person, session.host_id)
    is_host = await _count(
        db,
        RoleGrant,
        RoleGrant.person_id == session.host_id,
        RoleGrant.role == Role.HOST,
        RoleGrant.commune_code == session.commune_code,
    )
    others_live = await _count(
        db,
        LiveSession,
        LiveSession.commune_code == session.commune_code,
        LiveSession.state == LiveState.LIVE,
        LiveSession.rehearsal.is_(False),
        LiveSession.id != session.id,
    )
    products = (
        await db.execute(
            select(Product.state, Product.papers_checked_at, Product.commune_code)
            .join(Grade, Grade.product_id == Product.id)
            .join(LineupItem, LineupItem.grade_id == Grade.id)
            .where(LineupItem.live_session_id == session.id, LineupItem.removed_at.is_(None))
        )
    ).all()
    shown = [p for p in products if p.state == ListingState.APPROVED and p.papers_checked_at is not None]
    conditions = [
        Condition(
            "identity",
            N_("Danh tính người dẫn chưa được xác minh. Xin nhờ cán bộ xã xác minh."),
            bool(host and host.active and host.identity_verified_at),
        ),
        Condition(
            "commune",
            N_("Người dẫn chưa được giao dẫn phiên của xã này. Xin nhờ tỉnh hoặc xã giao việc."),
            is_host > 0,
        ),
        Condition(
            "rules",
            N_("Chưa đồng ý với nội quy bán hàng qua phiên phát. Xin đọc và bấm đồng ý."),
            session.rules_accepted_at is not None,
        ),
        Condition("title", N_("Phiên chưa có tên. Xin đặt tên phiên."), bool(session.title.strip())),
        Condition("lineup", N_("Chưa có món nào để bán. Xin thêm sản phẩm vào phiên."), bool(products)),
        Condition(
            "products_of_commune",
            N_("Có sản phẩm của xã khác trong phiên. Xin bỏ sản phẩm đó ra."),
            all(p.commune_code == session.commune_code for p in products),
        ),
        Condition(
            "papers",
            N_("Chưa có sản phẩm nào được duyệt và đủ giấy tờ. Xin nhờ cán bộ xã kiểm tra giấy tờ."),
            bool(shown),
        ),
        Condition(ONE_VOICE.name, ONE_VOICE.message, others_live == 0),
    ]
    return [one for one in conditions if not session.rehearsal or one.name in REHEARSED]


async def _count(db: AsyncSession, table: type, *where: ColumnElement[bool]) -> int:
    return await db.scalar(select(func.count()).select_from(table).where(*where)) or 0
