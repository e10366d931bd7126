"""The background process: everything that happens because something happened, or because time went by.

    relay     news out of the outbox, by topic, to the functions in `topics()`
    ticker    the counts of every live session once a second; one process of the market leads
    ingest    visits and page events from the wire's streams into PostgreSQL
    jobs      `JOBS`: housekeeping at intervals, by the leader
    listener  comments of other networks while sessions are on air, by the leader
    push      reminders and news of followed communes to phones, by the leader

Any number of workers may run; each part is correct with several and survives both engines being away.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
import uvloop
from sqlalchemy import text

from commerce.accounts import sms
from commerce.analytics import ingest, outside, reminders, reports, retention, rollup
from commerce.analytics.ingest import Ingest
from commerce.catalog import renewals
from commerce.core import garbage, heartbeat, logging
from commerce.core.db import sessions
from commerce.core.leader import lead
from commerce.core.outbox import Handler, Relay
from commerce.core.settings import Settings
from commerce.following import service as following
from commerce.live import rehearsal, replays
from commerce.live.listening import Listener
from commerce.live.news import Newsroom
from commerce.live.ticker import Ticker
from commerce.live.video import Pictures
from commerce.orders.expiry import expire_orders
from commerce.orders.terms import keep_terms
from commerce.payments import cards
from commerce.policies import service as policies
from commerce.privacy import data as privacy
from streaming.bus import Bus

LEADER = 6_600_200  # advisory lock; see core.migrate for another
POOL_SIZE = 5
STOP_WITHIN_S = 5.0

log = structlog.get_logger()


def topics(newsroom: Newsroom, moved: Handler, outlets: Handler) -> Mapping[str, Handler]:
    """Who does what with which news. Every topic that is emitted anywhere is here."""
    return {
        "live.changed": newsroom.changed,
        "live.moved": moved,
        "live.outlets": outlets,
        "live.ordered": newsroom.ordered,
    }


# ---- jobs


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done every so often, safe to do twice."""

    name: str
    every_s: float
    do: Callable[[], Awaitable[None]]


def forget(what: str, statement: str) -> Job:
    async def do() -> None:
        async with sessions.begin() as db:
            gone: Any = await db.execute(text(statement))
        if gone.rowcount:
            log.info("forgotten", what=what, rows=gone.rowcount)

    return Job(f"forget {what}", 600, do)


JOBS: Sequence[Job] = (
    Job("make partitions ahead", 6 * 3600, ingest.make_partitions_ahead),
    Job("forget buyers after 3 years", 24 * 3600, privacy.forget_old_buyers),
    Job("publish policies", 24 * 3600, policies.publish),
    Job("expire orders", 10, expire_orders),
    Job("keep what was agreed on", 5, keep_terms),
    Job("roll up sessions", 10, rollup.refresh_due),
    Job("forget raw rows after 13 months", 24 * 3600, retention.forget_job),
    Job("open this week's reports", 6 * 3600, reports.open_regular_job),
    Job("count the province's people", 24 * 3600, rollup.count_province),
    # The contract: a key answers the same for a day.
    forget("idempotency keys", "DELETE FROM idempotency_key WHERE at < now() - interval '24 hours'"),
    forget("taps", "DELETE FROM tap WHERE at < now() - interval '2 days'"),
    forget("push notices", "DELETE FROM push_notice WHERE due_at < now() - interval '7 days'"),
    # Keys of other networks have no business here once the session is over.
    forget(
        "outlets",
        "DELETE FROM outlet o USING live_session s WHERE s.id = o.live_session_id "
        "AND s.ended_at < now() - interval '1 day'",
    ),
    forget("sign-ins", "DELETE FROM sign_in WHERE expires_at < now() - interval '7 days'"),
    # Dead news stays long enough for somebody to look at it.
    forget("dead news", "DELETE FROM outbox WHERE dead_at < now() - interval '30 days'"),
)


async def _remind(settings: Settings) -> None:
    await reminders.remind(settings)


def jobs_of(settings: Settings, pictures: Pictures) -> Sequence[Job]:
    """All jobs: those above, and those that talk to services named in the settings."""
    return (
        *JOBS,
        Job("tell of recognitions that run out", 6 * 3600, partial(renewals.warn, sms.provider(settings))),
        Job("send card refunds", 15, partial(cards.send_refunds, settings)),
        Job("ask after card payments", 60, partial(cards.reconcile, settings)),
        Job("remind of reports", 600, partial(_remind, settings)),
        Job("delete recordings whose time is over", 3600, partial(replays.delete_due, pictures)),
    )


async def run_jobs(jobs: Sequence[Job] = JOBS) -> None:
    """Until cancelled: each job when it is due, one after another; one that fails is due again soon."""
    due = dict.fromkeys(range(len(jobs)), 0.0)
    while True:
        for number, job in enumerate(jobs):
            if due[number] > time.monotonic():
                continue
            try:
                await job.do()
                due[number] = time.monotonic() + job.every_s
            except Exception as error:
                log.warning("job_failed", job=job.name, exc_info=error)
                due[number] = time.monotonic() + min(job.every_s, 30)
        await asyncio.sleep(1)


# ---- the process


class Worker:
    """All parts of one worker process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = heartbeat.own_name("worker")
        self.bus = Bus(settings.valkey_url)
        self.newsroom = Newsroom(self.bus)
        self.ticker = Ticker(self.newsroom)
        self.pictures = Pictures(settings)
        self.listener = Listener(settings)
        self.relay = Relay(topics(self.newsroom, self.pictures.moved, self.pictures.outlets))
        self.ingest = Ingest(self.bus, self.name)
        self.leads_since: float | None = None
        self.jobs = jobs_of(settings, self.pictures)
        self.assembler = replays.Assembler(self.pictures, settings)
        self.rehearsals = rehearsal.Crowd(settings, self.bus)
        self._changed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: all parts; then the relay finishes its batch and the rest is dropped, as all of it
        may be done again by another process."""
        relay = asyncio.create_task(self.relay.run(stop))
        others = [
            asyncio.create_task(part)
            for part in (
                lead(
                    LEADER,
                    [
                        self._note_leading,
                        self.ticker.run,
                        self._run_jobs,
                        self._keep_telling,
                        self.listener.run,
                        partial(outside.follow_figures, self.listener),
                        self.assembler.run,
                        self.rehearsals.run,
                    ],
                ),
                self.newsroom.mend(),
                self.ingest.run(),
                self.pictures.follow(stop),
                self._beat(),
            )
        ]
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([relay, *others, stopping], return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        failed = [task.exception() for task in done if not task.cancelled() and task.exception()]
        await asyncio.wait([relay], timeout=STOP_WITHIN_S)
        for task in (relay, *others, stopping):
            task.cancel()
        await asyncio.gather(relay, *others, stopping, return_exceptions=True)
        await self.newsroom.turn.close()
        await self.bus.close()
        await self.pictures.close()
        await self.listener.close()
        for error in failed:
            assert error is not None
            raise error  # a fault of ours: loud, and the supervisor starts the process anew

    async def _run_jobs(self) -> None:
        await run_jobs(self.jobs)

    async def _keep_telling(self) -> None:
        await following.keep_telling(self.settings)

    async def _note_leading(self) -> None:
        self.leads_since = time.time()
        self._changed.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.leads_since = None
            self._changed.set()

    async def _beat(self) -> None:
        while True:
            try:
                figures = {"leads_since": self.leads_since, "ticked_at": self.ticker.ticked_at}
                await heartbeat.beat(self.name, figures)
            except Exception as error:
                log.warning("no_heartbeat", error=repr(error)[:200])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), heartbeat.EVERY_S)
            self._changed.clear()


async def main(settings: Settings, stop: asyncio.Event) -> None:
    sessions.configure(settings.database_url, pool_size=POOL_SIZE)
    try:
        await Worker(settings).run(stop)
    finally:
        await sessions.close()


def serve(settings: Settings) -> None:
    """Run one worker until SIGTERM or SIGINT."""
    logging.configure("worker")

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, stop.set)
        garbage.settle()
        await main(settings, stop)

    uvloop.run(run())
