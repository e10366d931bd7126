"""How the demo's sellers are paid: by card and transfer at the stand-ins, so that a newcomer can try it.

Nothing here reaches a bank or a card company: accounts are made of the seller's number, and the keys
are those that the market makes for its stand-ins (core.supervisor).
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from commerce.catalog.models import Product, Seller
from commerce.core.db import sessions
from commerce.core.seal import seal
from commerce.core.settings import Settings
from commerce.payments.models import BankFeed, CardAccount
from commerce.payments.notices import SEAL, SEPAY

DEPOSIT_PERCENT = 20
DEPOSIT_FOR = "bo 034"
"""Whoever sells this asks so much of fresh goods in advance."""


async def take_money(settings: Settings) -> None:
    """Connect every demo seller to the stand-ins. Safe to repeat."""
    if not settings.extra.get("STAND_IN"):
        return  # the market talks to the real services, or to none
    sealed = seal(settings.secret_key, SEAL, settings.extra["STRIPE_WEBHOOK_SECRET"])
    async with sessions.begin() as db:
        sellers = (await db.scalars(select(Seller).where(Seller.demo).order_by(Seller.id))).all()
        for seller in sellers:
            seller.bank_account = f"{seller.id:010d}"  # nobody's
            feed = {"seller_id": seller.id, "service": SEPAY, "account": seller.bank_account}
            new = upsert(BankFeed).values(**feed, secret=sealed)
            same = ["service", "account"]
            await db.execute(new.on_conflict_do_update(index_elements=same, set_={"secret": sealed}))
            account = upsert(CardAccount).values(seller_id=seller.id, account=f"acct_minhhoa{seller.id}")
            await db.execute(account.on_conflict_do_nothing())
        asking = select(Product.seller_id).where(Product.folded == DEPOSIT_FOR, Product.demo)
        wants = update(Seller).where(Seller.id.in_(asking)).values(deposit_percent=DEPOSIT_PERCENT)
        await db.execute(wants)
