"""Out to other networks: RTMP servers that are not ours, and some that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streaming.video.restream import BadTarget, Relay, Target, seal, unseal
from tests.streaming.video import ffmpeg
from tests.streaming.video.packaging import numbers
from tests.streaming.video.recordings import record
from tests.streaming.video.stage import SECRET, Host, Stage, eventually, free_port, stage


@pytest.fixture
async def on_stage(engines: Any, valkey_url: str, s3_bucket: str) -> AsyncIterator[Stage]:
    async with stage(engines.environment(), private_targets=True) as made:
        yield made


@contextlib.asynccontextmanager
async def other_network(file: Path) -> AsyncIterator[Target]:
    """Debian's ffmpeg as an RTMP server that keeps what it gets."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *[
            "ffmpeg",
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-listen",
            "1",
            "-i",
            f"rtmp://127.0.0.1:{port}/live/k-1",
        ],
        *["-c", "copy", str(file)],
        stderr=asyncio.subprocess.PIPE,
    )
    await asyncio.sleep(1)
    yield Target(f"net{port}", f"rtmp://127.0.0.1:{port}/live", "k-1")
    try:
        await asyncio.wait_for(process.wait(), 10)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


@contextlib.asynccontextmanager
async def silent_network() -> AsyncIterator[Target]:
    """Takes the connection and never says a word."""
    opened: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: opened.append(writer), "127.0.0.1", 0)
    yield Target("silent", f"rtmp://127.0.0.1:{server.sockets[0].getsockname()[1]}/live", "secret-key")
    server.close()
    for writer in opened:
        writer.transport.abort()


async def test_two_networks_get_it_and_two_bad_ones_hurt_nobody(on_stage: Stage, tmp_path: Path) -> None:
    recording = record(seconds=12)
    host = Host(on_stage, recording)
    files = [tmp_path / "one.flv", tmp_path / "two.flv"]
    async with contextlib.AsyncExitStack() as stack:
        good = [await stack.enter_async_context(other_network(file)) for file in files]
        silent = await stack.enter_async_context(silent_network())
        closed = Target("closed", f"rtmp://127.0.0.1:{free_port()}/live", "x")
        async with host.line() as line:
            await host.go()
            sending = asyncio.create_task(host.record(line, len(host.chunks)))
            await on_stage.studio.send_to(on_stage.session, seal(SECRET, [*good, silent, closed]))
            await eventually(lambda: _state(on_stage, good[0].id, "sending"), within_s=10)
            await eventually(lambda: _state(on_stage, good[1].id, "sending"), within_s=10)
            await eventually(lambda: _state(on_stage, "closed", "failed"), within_s=10)
            assert await _state(on_stage, "silent", "connecting")
            await sending
            await host.stop(line)
        await on_stage.studio.end(on_stage.session)
    for file in files:
        streams = ffmpeg.probe(file, "stream=codec_name")["streams"]
        assert {stream["codec_name"] for stream in streams} == {"h264", "aac"}
        got = numbers(file.read_bytes())
        assert got == list(range(got[0], got[-1] + 1))
        assert got[0] % 30 == 0  # from a key frame on
        assert len(got) >= 150
    await eventually(lambda: on_stage.session not in on_stage.sessions.owned)  # type: ignore[union-attr]


async def _state(made: Stage, target: str, begin: str) -> bool:
    news = await made.studio.status(made.session)
    return bool(news and news.targets.get(target, "").startswith(begin))


async def test_a_target_can_be_added_and_taken_away_on_air(on_stage: Stage, tmp_path: Path) -> None:
    host = Host(on_stage, record(seconds=9))
    file = tmp_path / "one.flv"
    async with other_network(file) as target, host.line() as line:
        await host.go()
        sending = asyncio.create_task(host.record(line, len(host.chunks)))
        await asyncio.sleep(1)
        await on_stage.studio.send_to(on_stage.session, seal(SECRET, [target]))
        await eventually(lambda: _state(on_stage, target.id, "sending"))
        await asyncio.sleep(2)
        await on_stage.studio.send_to(on_stage.session, seal(SECRET, []))
        await eventually(lambda: _no_targets(on_stage))
        await sending
    assert 30 <= len(numbers(file.read_bytes())) <= 200


async def _no_targets(made: Stage) -> bool:
    news = await made.studio.status(made.session)
    return news is not None and news.targets == {}


@contextlib.asynccontextmanager
async def encrypted(target: Target, folder: Path) -> AsyncIterator[tuple[Target, Path]]:
    """The same target behind TLS, and the certificate of who vouches for it."""
    certificate, key = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = urlsplit(target.address).port

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    number = server.sockets[0].getsockname()[1]
    yield Target("tls", f"rtmps://localhost:{number}/live", target.key), certificate
    server.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


@pytest.mark.parametrize("trusted", [True, False])
async def test_encrypted_networks_must_prove_who_they_are(
    on_stage: Stage, tmp_path: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(on_stage, record(seconds=9))
    file = tmp_path / "one.flv"
    async with other_network(file) as plain, encrypted(plain, tmp_path) as (target, certificate):
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with host.line() as line:
            await host.go()
            sending = asyncio.create_task(host.record(line, len(host.chunks)))
            await on_stage.studio.send_to(on_stage.session, seal(SECRET, [target]))
            await eventually(lambda: _state(on_stage, "tls", "sending" if trusted else "failed"), within_s=12)
            await sending
        await on_stage.studio.send_to(on_stage.session, seal(SECRET, []))
        if not trusted:  # ends the server, which nobody reached
            _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(plain.address).port)
            writer.transport.abort()
    assert (len(numbers(file.read_bytes())) > 60) if trusted else not file.exists()


async def test_our_own_network_is_no_target() -> None:
    for address in (
        "rtmp://127.0.0.1/live",
        "rtmp://10.1.2.3:1935/live",
        "rtmp://[::1]/live",
        "rtmp://localhost/live",
    ):
        relay = Relay(Target("x", address, "k"), private=False, init=None)
        assert not await relay._allowed(), address


def test_keys_are_sealed() -> None:
    targets = [Target("fb", "rtmps://live-api.example.com:443/rtmp", "FB-123-secret")]
    sealed = seal(SECRET, targets)
    assert b"secret" not in sealed
    assert unseal(SECRET, sealed) == targets
    assert "secret" not in repr(targets)
    with pytest.raises(ValueError, match="not sealed"):
        unseal(SECRET + "!", sealed)
    for address in ("http://x/live", "file:///etc/passwd", "rtmp:///live", "tcp://x"):
        with pytest.raises(BadTarget):
            seal(SECRET, [Target("x", address, "k")])
