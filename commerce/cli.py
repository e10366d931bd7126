"""`chophien …`: every command of the market. Each imports what it runs only when it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from commerce.core.embedded import EngineError
from commerce.core.settings import Settings, SettingsError
from commerce.core.supervisor import MOST_VIDEO, CannotStart, Market, Plan, stopped_by_signals

DEMO_PASSWORD = "chophien-demo"  # noqa: S105 - printed on purpose, for made-up people only
DEMO_PEOPLE = {
    "host": "0900000001",
    "helper": "0900000002",
    "officer": "0900000003",
    "seller": "0900000004",
    "province": "0900000005",
    "admin": "0900000006",
}
DEMO_SESSION = "EAKNUEC"

SPEAKING = ("SeedError", "BenchError", "BackupError", "StorageUnavailable", "TicketError")
"""Errors whose text is a sentence for a person; named, so that their modules need not be imported."""

Command = TypeVar("Command", bound=Callable[..., Any])


class Commands(click.Group):
    """Turns what can go wrong for a person into one sentence and exit code 1; anything else stays loud."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (EngineError, CannotStart) as error:
            raise click.ClickException(str(error)) from error
        except SettingsError as error:
            raise click.ClickException(
                "The settings are not complete:\n  " + "\n  ".join(error.faults)
            ) from error
        except Exception as error:
            sentence = explain(error)
            if sentence is None:
                raise
            raise click.ClickException(sentence) from error


def explain(error: Exception) -> str | None:
    """A sentence for faults of the surroundings and of the input, None for our own."""
    from commerce.core.errors import Invalid, MarketError

    if isinstance(error, Invalid):
        return "; ".join(f"{fault.field}: {fault.text('vi')}" for fault in error.errors)
    if isinstance(error, MarketError):
        return f"{error.title_text('vi')}. {error.detail_text('vi')}"
    if type(error).__name__ in SPEAKING:
        return str(error)
    if isinstance(error, ConnectionError | TimeoutError):
        return f"An engine does not answer ({error}). Is the market running? `chophien doctor` says more."
    return None


def report(line: str) -> None:
    """Progress, for the eye: results alone go to standard output."""
    with contextlib.suppress(OSError):  # a closed terminal is no reason to stop
        click.echo(f"» {line}", err=True)


def folder_option(command: Command) -> Command:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="CHOPHIEN_DATA_DIR",
        default=Path(".chophien"),
        show_default=True,
        help="The folder that holds the market: engines, secrets, logs.",
    )(command)


def port_option(command: Command) -> Command:
    return click.option(
        "--port",
        type=click.IntRange(1, 65_000),
        envvar="CHOPHIEN_PORT",
        default=8000,
        show_default=True,
        help="The web's port; live sockets use the next one, RTMP the one after, video the following.",
    )(command)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Chợ Phiên: live commerce for communes, on one machine or many."""


# A whole market


def addressed_port_option(command: Command) -> Command:
    return click.option(
        "--port",
        type=click.IntRange(1, 65_000),
        help="The port of that market, if it must be named: the data folder knows it.",
    )(command)


def size_options(command: Command) -> Command:
    for name, what in (
        ("video", "Video processes (one a core)."),
        ("workers", "Background processes."),
        ("gateways", "Gateways; each holds up to about 19,000 viewers."),
        ("web", "Web processes."),
    ):
        command = click.option(
            f"--{name}",
            type=click.IntRange(0, 64),
            default=Plan.__dataclass_fields__[name].default,
            show_default=True,
            help=what,
        )(command)
    return command


@main.command()
@folder_option
@port_option
@size_options
def up(data_dir: Path, port: int, web: int, gateways: int, workers: int, video: int) -> None:
    """Run everything on this machine until SIGTERM or Ctrl-C."""
    _run_market(data_dir, port, web=web, gateways=gateways, workers=workers, video=video)


@main.command()
@folder_option
@port_option
@size_options
@click.option(
    "--crowd",
    type=click.FloatRange(0, 10),
    default=0.02,
    show_default=True,
    help="Size of the simulated public: 1 is the first real session (150,000 views), 0 is none.",
)
def demo(data_dir: Path, port: int, web: int, gateways: int, workers: int, video: int, crowd: float) -> None:
    """Run the demo market: a live session of Ea Knuếc with a simulated public, everything marked as made
    up."""
    _run_market(
        data_dir,
        port,
        web=web,
        gateways=gateways,
        workers=workers,
        video=video,
        demo=True,
        crowd=crowd or None,
    )


def _run_market(data_dir: Path, port: int, **sizes: Any) -> None:
    raise_file_limit()
    with stopped_by_signals(), Market(Plan(data_dir, port, **sizes), report=report) as market:
        click.echo(f"ready {market.url}")
        if market.plan.demo:
            _print_demo(market.url)
        threading.Event().wait()
    report("stopped")


def _print_demo(url: str) -> None:
    click.echo(f"  the live session   {url}/live/{DEMO_SESSION}")
    click.echo(
        "  cards to try       4242 4242 4242 4242 pays, 4000 0000 0000 9995 has no money, any date and CVC"
    )
    click.echo(f"  sign in            {url}/login   password {DEMO_PASSWORD}")
    for role, phone in DEMO_PEOPLE.items():
        click.echo(f"    {role:<10} {phone}   {url}/{'office' if role == 'officer' else role}")


def raise_file_limit() -> None:
    """Each viewer is an open file; take what the system allows without asking."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# One process each, everything from the environment


def _process_settings(data_dir: Path, port: int) -> Settings:
    raise_file_limit()
    given = {"CHOPHIEN_DATA_DIR": str(data_dir), "CHOPHIEN_PORT": str(port)}
    return Settings.from_env({**os.environ, **given})


@main.command()
@folder_option
@port_option
def web(data_dir: Path, port: int) -> None:
    """One web process: pages and API on PORT (several may share it)."""
    settings = _process_settings(data_dir, port)
    from commerce.app import serve

    serve(settings)


@main.command()
@folder_option
@port_option
def gateway(data_dir: Path, port: int) -> None:
    """One gateway: live sockets on PORT + 1 (several may share it)."""
    settings = _process_settings(data_dir, port)
    from commerce.core import logging
    from streaming.gateway import GatewayConfig, serve

    logging.configure("gateway")
    config = GatewayConfig(
        valkey_url=settings.valkey_url,
        ticket_secret=settings.secret_key,
        allowed_origins=(settings.public_url,),
        bind=settings.bind,
        port=settings.gateway_port,
        trusted_proxies=tuple(settings.extra.get("TRUSTED_PROXIES", "").replace(",", " ").split()),
    )
    serve(config)


@main.command()
@folder_option
@port_option
@click.option(
    "--index",
    type=click.IntRange(0, MOST_VIDEO - 1),
    default=0,
    show_default=True,
    help="Which one of several this is; it listens on PORT + 3 + INDEX.",
)
def video(data_dir: Path, port: int, index: int) -> None:
    """One video process: hosts' cameras by WebSocket and RTMP, segments to S3."""
    settings = _process_settings(data_dir, port)
    from commerce.core import logging
    from streaming.video.archive import ArchiveSettings
    from streaming.video.process import VideoConfig, serve

    logging.configure(f"video-{index}")
    config = VideoConfig(
        valkey_url=settings.valkey_url,
        archive=ArchiveSettings(
            settings.s3_endpoint,
            settings.s3_access_key,
            settings.s3_secret_key,
            settings.s3_bucket,
            settings.s3_region,
        ),
        secret=settings.secret_key,
        bind=settings.bind,
        port=settings.video_port + index,
        rtmp_port=settings.rtmp_port,
        index=index,
        public_address=settings.extra.get("VIDEO_URL", ""),
        allowed_origins=(settings.public_url,),
        trusted_proxies=tuple(settings.extra.get("TRUSTED_PROXIES", "").replace(",", " ").split()),
        low_rendition=settings.extra.get("VIDEO_360P") == "1",
        low_latency=settings.extra.get("VIDEO_LOW_LATENCY", "1") == "1",
        private_targets=settings.extra.get("VIDEO_PRIVATE_TARGETS") == "1",
    )
    serve(config)


@main.command()
@folder_option
@port_option
def worker(data_dir: Path, port: int) -> None:
    """One background process: outbox, counts, visits, expiry, reports."""
    settings = _process_settings(data_dir, port)
    from commerce.worker import serve

    serve(settings)


# Schema, data, people


@contextlib.contextmanager
def _market(data_dir: Path) -> Iterator[Settings]:
    from commerce.core.reach import market_settings

    with market_settings(data_dir, report=report) as settings:
        yield settings


@main.command()
@folder_option
def migrate(data_dir: Path) -> None:
    """Bring the database to the newest schema."""
    from commerce.core import migrate

    with _market(data_dir) as settings:
        migrate.upgrade(settings.database_url)


@main.command()
@folder_option
@click.option("--demo", is_flag=True, help="Also the demo market, everything in it marked as made up.")
def seed(data_dir: Path, demo: bool) -> None:
    """Load communes, banks and the register of products. Safe to repeat."""
    from catalog_seed import loader

    with _market(data_dir) as settings:
        loader.load(settings, demo=demo, progress=report)


@main.command()
@folder_option
@click.option("--demo", is_flag=True)
def prepare(data_dir: Path, demo: bool) -> None:
    """Both of the above and the bucket, in one process: what `up` does before it serves."""
    from catalog_seed import loader
    from commerce.core import migrate
    from commerce.core.storage import Storage

    with _market(data_dir) as settings:
        asyncio.run(Storage(settings).ensure_bucket())
        migrate.upgrade(settings.database_url)
        loader.load(settings, demo=demo, progress=report)


@main.group()
def stock() -> None:
    """The goods in the stalls, and the ledger of their movements."""


@stock.command("check")
@folder_option
def stock_check(data_dir: Path) -> None:
    """Rebuild every balance from the ledger and compare. Changes nothing; exit code 1 where they differ."""
    from commerce.catalog.stock import checked
    from commerce.core.db import sessions

    async def run(settings: Settings) -> Any:
        sessions.configure(settings.database_url, pool_size=1)
        try:
            return await checked()
        finally:
            await sessions.close()

    with _market(data_dir) as settings:
        found = asyncio.run(run(settings))
    for one in found.differences:
        click.echo(
            f"grade {one.grade_id}: the balance says {one.balance[0]} on hand, {one.balance[1]} reserved; "
            f"the ledger says {one.ledger[0]} and {one.ledger[1]}"
        )
    click.echo(f"{found.grades} balances rebuilt from {found.movements} movements")
    if found.differences:
        raise click.ClickException(f"{len(found.differences)} balances differ from their ledger.")


@main.command()
@folder_option
@click.option("--compare", is_flag=True, help="Change nothing; say where stored counts and raw rows differ.")
def rollup(data_dir: Path, compare: bool) -> None:
    """Count every session anew from its raw rows."""
    from commerce.analytics.rollup import Rebuilt, rebuild
    from commerce.core.db import sessions

    async def run(settings: Settings) -> Rebuilt:
        sessions.configure(settings.database_url, pool_size=1)
        try:
            return await rebuild(compare=compare, progress=report)
        finally:
            await sessions.close()

    with _market(data_dir) as settings:
        rebuilt = asyncio.run(run(settings))
    for difference in rebuilt.differences:
        click.echo(difference)
    report(f"{rebuilt.sessions} sessions, {len(rebuilt.differences)} differences")
    if rebuilt.differences:
        raise SystemExit(1)


@main.group()
def user() -> None:
    """Accounts."""


@user.command("add")
@folder_option
@click.option("--phone", required=True)
@click.option("--name", required=True)
@click.option("--role", required=True, type=click.Choice(list(DEMO_PEOPLE)))
@click.option("--commune", help="Official code of the commune, for roles that belong to one.")
def user_add(data_dir: Path, phone: str, name: str, role: str, commune: str | None) -> None:
    """Open an account and print its one-time password."""
    from commerce.accounts.service import open_account
    from commerce.core.db import sessions

    async def open_it(settings: Settings) -> str:
        sessions.configure(settings.database_url, pool_size=1)
        try:
            return await open_account(phone, name, role, commune)
        finally:
            await sessions.close()

    with _market(data_dir) as settings:
        password = asyncio.run(open_it(settings))
    click.echo(password)


# Looking at a market from outside


@main.command("live-urls")
@folder_option
@addressed_port_option
@click.argument("code")
@click.option("--count", type=click.IntRange(1, 10_000_000), default=1, show_default=True)
def live_urls(data_dir: Path, port: int | None, code: str, count: int) -> None:
    """Print COUNT distinct viewer socket addresses of the live session CODE, for load tests."""
    from commerce.core.reach import running_settings
    from streaming.tickets import Kind, Tickets

    settings = running_settings(data_dir)
    tickets = Tickets(settings.secret_key)
    live = settings.live_url if port is None else f"ws://127.0.0.1:{port + 1}"
    try:
        for _ in range(count):
            ticket = tickets.sign(code, uuid.uuid4().hex, kind=Kind.BENCH)
            sys.stdout.write(f"{live}/live/{code}?ticket={ticket}\n")
    except ValueError as error:
        raise click.ClickException(
            f"{code!r} is not the code of a live session (letters and digits)."
        ) from error


@main.group()
def bench() -> None:
    """Measure this machine: the last line is the result as JSON."""


def url_option(command: Command) -> Command:
    return click.option("--url", help="A running market; without it the bench starts one of its own.")(
        command
    )


def seconds_option(command: Command) -> Command:
    return click.option("--seconds", type=click.FloatRange(1, 3600), default=10, show_default=True)(command)


def _result(line: dict[str, Any]) -> None:
    click.echo(json.dumps(line))


@bench.command("orders")
@folder_option
@port_option
@url_option
@seconds_option
@click.option("--concurrency", type=click.IntRange(1, 10_000), default=256, show_default=True)
@click.option("--products", type=click.IntRange(1, 1_000), default=1, show_default=True)
@click.option(
    "--web", type=click.IntRange(1, 64), default=2, show_default=True, help="Web processes of its own."
)
def bench_orders(
    data_dir: Path, port: int, url: str | None, seconds: float, concurrency: int, products: int, web: int
) -> None:
    """Orders a second over HTTP, and whether one too many was sold."""
    from commerce.orders import bench

    raise_file_limit()
    _result(
        bench.main(
            url,
            concurrency=concurrency,
            seconds=seconds,
            products=products,
            web=web,
            port=port,
            report=report,
        )
    )


@bench.command("pages")
@folder_option
@port_option
@url_option
@seconds_option
@click.option("--rate", type=click.FloatRange(1), default=500, show_default=True, help="Requests a second.")
@click.option("--session", default=DEMO_SESSION, show_default=True)
@click.option(
    "--web", type=click.IntRange(1, 64), default=2, show_default=True, help="Web processes of its own."
)
def bench_pages(
    data_dir: Path, port: int, url: str | None, seconds: float, rate: float, session: str, web: int
) -> None:
    """The session page at a steady rate."""
    from commerce.core import bench_pages

    raise_file_limit()
    _result(
        bench_pages.main(
            url, session=session, per_second=rate, seconds=seconds, web=web, port=port, report=report
        )
    )


@bench.command("viewers")
@folder_option
@port_option
@url_option
@seconds_option
@click.option("--viewers", type=click.IntRange(1), default=10_000, show_default=True)
@click.option(
    "--rate", type=click.FloatRange(0), default=0, help="Viewers that come in a second; 0: all they can."
)
@click.option(
    "--session", default=DEMO_SESSION, show_default=True, help="The live session of a running market."
)
def bench_viewers(
    data_dir: Path, port: int, url: str | None, seconds: float, viewers: int, rate: float, session: str
) -> None:
    """Viewers at once in one session, the delay of each frame and what it costs.

    With --url the market's signing key is needed too: from --data-dir or CHOPHIEN_SECRET_KEY.
    """
    from commerce.core.embedded import valkey_alone
    from commerce.core.reach import running_settings
    from streaming import bench
    from streaming.bench import Target

    raise_file_limit()
    target = None
    if url is not None:
        secret = os.environ.get("CHOPHIEN_SECRET_KEY") or running_settings(data_dir).secret_key
        target = Target(_live_address(url, session), session, secret)
    _result(bench.main(viewers, seconds, start_valkey=valkey_alone, target=target, rate=rate, say=report))


@bench.command("video")
@folder_option
@url_option
@seconds_option
@click.option("--streams", type=click.IntRange(1, 400), default=10, show_default=True)
@click.option("--transcode", is_flag=True, help="VP8 in place of H.264: the picture is encoded again.")
def bench_video(data_dir: Path, url: str | None, seconds: float, streams: int, transcode: bool) -> None:
    """Hosts on air in one video process: CPU a stream, late segments, time from frame to playlist.

    The video process is always the bench's own. With --url it works beside the running market of --data-dir,
    on its engines; without, on engines of its own.
    """
    from commerce.core.embedded import Engines, temporary_folder
    from commerce.core.reach import running_settings
    from streaming.video import bench
    from streaming.video.archive import ArchiveSettings
    from streaming.video.process import VideoConfig

    raise_file_limit()
    with contextlib.ExitStack() as stack:
        if url is None:
            engines = stack.enter_context(Engines(stack.enter_context(temporary_folder()), {}, report))
            settings = Settings.from_env(
                engines.environment() | {"CHOPHIEN_SECRET_KEY": secrets.token_hex(32)}
            )
        else:
            settings = running_settings(data_dir)
        config = VideoConfig(
            valkey_url=settings.valkey_url,
            archive=ArchiveSettings(
                settings.s3_endpoint,
                settings.s3_access_key,
                settings.s3_secret_key,
                settings.s3_bucket,
                settings.s3_region,
            ),
            secret=settings.secret_key,
        )
        _result(bench.main(streams, seconds, config, kind="transcode" if transcode else "copy", say=report))


def _live_address(url: str, session: str) -> str:
    """Where the gateways of a running market listen, as the market says: ws://host:port."""
    import httpx

    answer = httpx.get(f"{url.rstrip('/')}/api/v1/live-sessions/{session}", timeout=10)
    if answer.status_code != 200:
        raise click.ClickException(f"{url} knows no live session {session} (HTTP {answer.status_code}).")
    parts = urlsplit(answer.json()["live_url"])
    return f"{parts.scheme}://{parts.netloc}"


@main.command()
@folder_option
def openapi(data_dir: Path) -> None:
    """Print the API description (OpenAPI 3.1, JSON). It is the same for every data folder."""
    from commerce.app import create_app

    # The description depends on no engine; nothing is opened until an application starts.
    settings = Settings(
        database_url="postgresql://nobody@127.0.0.1/none",
        valkey_url="valkey://127.0.0.1/0",
        s3_endpoint="http://127.0.0.1",
        s3_access_key="none",
        s3_secret_key="none",  # noqa: S106
        secret_key="-" * 32,
    )
    click.echo(json.dumps(create_app(settings).openapi_schema.to_schema(), ensure_ascii=False, indent=1))


@main.command()
@folder_option
@port_option
def doctor(data_dir: Path, port: int) -> None:
    """Say what is missing or wrong here, and how to mend it."""
    from commerce.core.doctor import examine

    wrong = 0
    for finding in examine(data_dir, port, os.environ):
        click.echo(f"{finding.state:<6}{finding.what}")
        if finding.mend:
            click.echo(f"      → {finding.mend}")
        wrong += finding.state == "wrong"
    if wrong:
        raise click.ClickException(f"{wrong} thing{'s' if wrong > 1 else ''} to mend, see above.")


@main.command()
@folder_option
@click.argument("target", type=click.Path(path_type=Path), metavar="DIR")
def backup(data_dir: Path, target: Path) -> None:
    """Copy the market (it may run) into the new folder DIR: database, objects, signing key."""
    from commerce.core.backup import backup

    with _market(data_dir) as settings:
        backup(settings, target, report)


@main.command()
@folder_option
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR")
def restore(data_dir: Path, source: Path) -> None:
    """Bring the copy in DIR back into an empty data folder."""
    from commerce.core.backup import restore

    restore(source, data_dir, dict(os.environ), report)


if __name__ == "__main__":
    main()
