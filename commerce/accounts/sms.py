"""Short messages, behind one small interface.

In production CHOPHIEN_SMS_URL names a provider's address that takes POST {"to", "text"} with the bearer token
CHOPHIEN_SMS_TOKEN; every Vietnamese provider needs a thin adapter of its own terms, and that is the place for
it. In development the message is shown on the console instead, and nothing leaves the machine.
"""

from __future__ import annotations

from typing import Protocol

import httpx
import structlog

from commerce.accounts.errors import SmsUnavailable
from commerce.core.settings import Settings

log = structlog.get_logger()


class Sms(Protocol):
    async def send(self, phone: str, text: str) -> None:
        """Hand the message to the network. Raises `SmsUnavailable`."""


class ConsoleSms:
    async def send(self, phone: str, text: str) -> None:
        log.warning("sms_on_console", to=phone, text=text)


class HttpSms:
    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token

    async def send(self, phone: str, text: str) -> None:
        try:
            async with httpx.AsyncClient(timeout=10) as client:
                answer = await client.post(
                    self.url,
                    json={"to": phone, "text": text},
                    headers={"Authorization": f"Bearer {self.token}"},
                )
                answer.raise_for_status()
        except httpx.HTTPError as error:
            log.warning("sms_failed", error=repr(error))
            raise SmsUnavailable from error


class NoSms:
    """Production without a provider: codes are off, passwords work."""

    async def send(self, phone: str, text: str) -> None:
        raise SmsUnavailable


def provider(settings: Settings) -> Sms:
    url = settings.extra.get("SMS_URL")
    if url:
        return HttpSms(url, settings.extra.get("SMS_TOKEN", ""))
    return NoSms() if settings.production else ConsoleSms()
