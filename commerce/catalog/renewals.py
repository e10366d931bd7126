"""OCOP recognitions that run out: the seller is told once, when the renewal opens (180 days before)."""

from __future__ import annotations

import structlog
from sqlalchemy import select, update

from commerce.accounts.errors import SmsUnavailable
from commerce.accounts.sms import Sms
from commerce.catalog.models import Product, Recognition, Seller
from commerce.catalog.recognitions import RENEWAL_OPENS, holding
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.i18n import N_, translate

AT_ONCE = 200
TEXT = N_(
    "Chợ Phiên: giấy OCOP {stars} sao của “{product}” hết hạn ngày {day}, còn {days} ngày. "
    "Từ hôm nay nộp hồ sơ gia hạn được, xin hỏi văn phòng xã."
)

log = structlog.get_logger()


async def warn(sms: Sms) -> None:
    """Tells every seller who was not told yet. What could not be sent is tried again at the next run.

    The row is marked after the message went out: a crash between the two tells a seller twice, never not.
    """
    today = clock.today()
    async with sessions.read() as db:
        due = (
            await db.execute(
                select(Recognition, Product.name, Seller.phone)
                .join(Product, Product.id == Recognition.product_id)
                .join(Seller, Seller.id == Product.seller_id)
                .where(
                    holding(today),
                    Recognition.expires_on <= today + RENEWAL_OPENS,
                    Recognition.warned_at.is_(None),
                )
                .order_by(Recognition.expires_on)
                .limit(AT_ONCE)
            )
        ).all()
    for recognition, product, phone in due:
        last = recognition.expires_on
        text = translate(TEXT, "vi").format(
            stars=recognition.stars, product=product, day=f"{last:%d/%m/%Y}", days=(last - today).days
        )
        try:
            await sms.send(phone, text)
        except SmsUnavailable:
            log.warning("renewals_not_told", waiting=len(due))
            return
        async with sessions.begin() as db:
            await db.execute(
                update(Recognition).where(Recognition.id == recognition.id).values(warned_at=clock.now())
            )
