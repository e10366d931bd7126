"""How a seller is paid: which service tells of credits on their account, and their account for cards."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert

from commerce.catalog.models import Seller
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import N_
from commerce.core.roles import Identity
from commerce.core.seal import seal
from commerce.payments.models import BankFeed, CardAccount
from commerce.payments.notices import PAYOS, SEAL, SEPAY
from commerce.payments.receiving import must_handle_money

MOST_FEE = 1_000_000  # dong; more is a slip of the finger


async def set_bank_feed(
    identity: Identity, secret_key: str, seller_id: int, service: str, secret: str
) -> None:
    """From now on `service` proves itself with `secret` when it tells of credits on the seller's account.

    Raises `NotFound`, `Forbidden`, `Invalid`.
    """
    if service not in (SEPAY, PAYOS):
        raise Invalid(FieldError("service", N_("Chỉ nhận sepay hoặc payos.")))
    if not 8 <= len(secret) <= 200:
        raise Invalid(FieldError("secret", N_("Mã bí mật dài từ 8 đến 200 ký tự.")))
    async with sessions.begin() as db:
        seller = await db.get(Seller, seller_id)
        if seller is None:
            raise NotFound
        await must_handle_money(db, identity, seller_id)
        if not seller.bank_account:
            raise Invalid(FieldError("seller", N_("Người bán chưa ghi số tài khoản ngân hàng.")))
        row = insert(BankFeed).values(
            seller_id=seller_id,
            service=service,
            account=seller.bank_account,
            secret=seal(secret_key, SEAL, secret),
        )
        changed = {"seller_id": row.excluded.seller_id, "secret": row.excluded.secret, "active": True}
        await db.execute(row.on_conflict_do_update(index_elements=["service", "account"], set_=changed))


async def set_deposit(identity: Identity, seller_id: int, *, percent: int, fee: int) -> None:
    """What is asked for in advance of orders paid on delivery: so much of fresh goods, and a fixed sum of
    every order. Nothing of either switches it off. Raises `NotFound`, `Forbidden`, `Invalid`."""
    faults = []
    if not 0 <= percent <= 100:
        faults.append(FieldError("percent", N_("Phần trăm đặt cọc từ 0 đến 100.")))
    if not 0 <= fee <= MOST_FEE:
        faults.append(FieldError("fee", N_("Số tiền trả trước từ 0 đến 1.000.000 ₫ mỗi đơn.")))
    if faults:
        raise Invalid(*faults)
    async with sessions.begin() as db:
        seller = await db.get(Seller, seller_id)
        if seller is None:
            raise NotFound
        await must_handle_money(db, identity, seller_id)
        seller.deposit_percent, seller.deposit_fee = percent, fee


async def set_card_account(identity: Identity, seller_id: int, account: str) -> None:
    """The seller's own account at the card company; empty switches cards off. Raises as above."""
    if account and not (account.startswith("acct_") and account[5:].isalnum()):
        raise Invalid(FieldError("account", N_("Mã tài khoản Stripe bắt đầu bằng acct_.")))
    async with sessions.begin() as db:
        if await db.get(Seller, seller_id) is None:
            raise NotFound
        await must_handle_money(db, identity, seller_id)
        known = await db.get(CardAccount, seller_id)
        if known is not None:
            known.active = bool(account)
            known.account = account or known.account
        elif account:
            db.add(CardAccount(seller_id=seller_id, account=account))
