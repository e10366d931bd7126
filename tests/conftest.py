"""Real engines for the tests: started once; a fresh database, an empty Valkey and bucket for each test.

def test_…(settings):      everything a process needs, on engines of its own
async def test_…(sessions): commerce.core.db.sessions, pointed at this test's database
async def test_…(client): an httpx client of the whole web application (`app`) on these engines
database_url, valkey_url, s3_bucket: one engine alone; environ: all of it as CHOPHIEN_* variables
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import boto3
import httpx
import pytest
import structlog
import valkey
from litestar import Litestar

from commerce.accounts.service import tries
from commerce.app import create_app
from commerce.core import db, migrate
from commerce.core.embedded import Engines, temporary_folder
from commerce.core.settings import Settings

TEMPLATE = "migrated"

# Tracebacks as in production: the pretty ones of development take two seconds each.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """PostgreSQL, Valkey and S3 in a temporary folder. For tests that kill engines, start your own."""
    with temporary_folder() as folder, Engines(folder, environ={}) as running:
        yield running


class Databases:
    """Makes and drops databases (about 40 ms), on one connection kept in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._link = self._run(asyncpg.connect(url))
        self._run(self._link.execute(f"CREATE DATABASE {TEMPLATE}"))
        with ThreadPoolExecutor(1) as pool:  # it runs a loop of its own
            pool.submit(migrate.upgrade, self.named(TEMPLATE)).result()

    def named(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def clone(self, template: str = TEMPLATE) -> str:
        """Name of a new database with the newest schema and no rows but those of the migrations, or with all
        that is in another one, which nobody may be connected to."""
        name = f"test_{next(self._numbers)}"
        self._run(self._link.execute(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return name

    def drop(self, name: str) -> None:
        for _ in range(50):
            with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                self._run(self._link.execute(f"DROP DATABASE {name} WITH (FORCE)"))
                return
            time.sleep(0.1)  # the server's own vacuum is at work there; we may not end it

    def close(self) -> None:
        self._run(self._link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@pytest.fixture(scope="session")
def databases(engines: Engines) -> Iterator[Databases]:
    made = Databases(engines.environment()["CHOPHIEN_DATABASE_URL"])
    yield made
    made.close()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    name = databases.clone()
    yield databases.named(name)
    databases.drop(name)


@pytest.fixture
def valkey_url(engines: Engines) -> str:
    url = engines.environment()["CHOPHIEN_VALKEY_URL"]
    with valkey.Valkey.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture(scope="session")
def s3(engines: Engines) -> Any:
    """A boto3 client."""
    environ = engines.environment()
    return boto3.client(
        "s3",
        endpoint_url=environ["CHOPHIEN_S3_ENDPOINT"],
        aws_access_key_id=environ["CHOPHIEN_S3_ACCESS_KEY"],
        aws_secret_access_key=environ["CHOPHIEN_S3_SECRET_KEY"],
        region_name="us-east-1",
    )


@pytest.fixture
def s3_bucket(engines: Engines, s3: Any) -> Iterator[str]:
    bucket = engines.environment()["CHOPHIEN_S3_BUCKET"]
    yield bucket
    while found := s3.list_objects_v2(Bucket=bucket).get("Contents"):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": item["Key"]} for item in found]})


@pytest.fixture
def environ(engines: Engines, database_url: str, valkey_url: str, s3_bucket: str) -> dict[str, str]:
    """CHOPHIEN_* for processes of this test's own market."""
    return engines.environment() | {"CHOPHIEN_DATABASE_URL": database_url}


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return Settings.from_env(environ)


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[db.Sessions]:
    db.sessions.configure(database_url)
    yield db.sessions
    await db.sessions.close()


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[Litestar]:
    """The web application on this test's engines, started."""
    made = create_app(settings)
    tries.clear()  # wrong passwords of other tests came from the same address
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        """Litestar's lifespan must be left in the task that entered it; fixtures are left in another."""
        async with made.lifespan():
            started.set()
            await stop.wait()

    task = asyncio.create_task(live())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not started.is_set():
        await task  # raises what kept it from starting
    yield made
    stop.set()
    await task


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """A program or browser without an account. Unknown errors are answered 500, as in production."""
    # Litestar types its scope more closely than httpx does.
    transport = httpx.ASGITransport(cast(Any, app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://market.test") as made:
        yield made
