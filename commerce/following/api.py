"""What a device wants to hear of, as its page sends it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from commerce.accounts.api import client_address
from commerce.core.i18n import current_language
from commerce.core.limits import RateLimit
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access
from commerce.following import push, service
from commerce.following.push import Target

limit = RateLimit(per_second=0.5, burst=30)
Text = Annotated[str, msgspec.Meta(max_length=1000)]
Code = Annotated[str, msgspec.Meta(max_length=24)]


class PushKey(msgspec.Struct):
    key: str
    """The market's public key, for `pushManager.subscribe`."""


class Keys(msgspec.Struct):
    p256dh: Text
    auth: Text


class Subscription(msgspec.Struct):
    """As `PushSubscription.toJSON()` writes it."""

    endpoint: Text
    keys: Keys


class Following(msgspec.Struct):
    subscription: Subscription
    communes: Annotated[list[Code], msgspec.Meta(max_length=200)] = msgspec.field(default_factory=list)
    sessions: Annotated[list[Code], msgspec.Meta(max_length=200)] = msgspec.field(default_factory=list)


class Followed(msgspec.Struct):
    communes: list[str]
    sessions: list[str]


@get("/push-key", opt=access.public, sync_to_thread=False, tags=["following"])
def push_key(settings: NamedDependency[Settings]) -> PushKey:
    return PushKey(push.public_key(settings))


@put("/following", opt=access.public, tags=["following"])
async def following(
    request: AnyRequest, data: JSONBody[Following], settings: NamedDependency[Settings]
) -> Followed:
    """All that this device follows (codes of communes) and waits for (codes of sessions); answers what holds.
    With neither, the device is forgotten. 422 `no_push_here`."""
    limit.take(client_address(request))
    subscription = data.subscription
    target = Target(subscription.endpoint, subscription.keys.p256dh, subscription.keys.auth)
    communes, sessions = await service.set_following(
        settings, target, language=current_language.get(), communes=data.communes, sessions_=data.sessions
    )
    return Followed(communes, sessions)


ROUTES = [push_key, following]
