"""`chophien backup` and `restore`: a consistent copy of a market, and its return.

    manifest.json   version, time, and the SHA-256 of every other file: a damaged copy is refused before it is
    used database.dump   PostgreSQL, one snapshot (pg_dump's own compressed format)
    objects.tar     every object of the bucket under its key; content types and cache rules in objects.json
    secrets.json    the market's signing key (0600): without it no order page, ticket or masked phone is
    recognised

The market may run meanwhile. The database is copied first, the objects after it: bytes are stored before the
row that names them is committed and never change, so every row of the copy finds its object. Valkey is not
copied: it holds a second of news and what counts are derived from, and both are made anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from commerce.core.embedded import Engines
from commerce.core.embedded.folder import make_passable, read_json, write_private
from commerce.core.embedded.postgres import bin_folder
from commerce.core.settings import Settings
from commerce.core.storage import Storage

VERSION = 1
FILES = ("database.dump", "objects.tar", "objects.json", "secrets.json")
KEPT = ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "Metadata")
TELL_EVERY = 1_000  # objects

Report = Callable[[str], None]


class BackupError(Exception):
    """The copy cannot be made or used. The text is one plain sentence."""


def backup(settings: Settings, target: Path, report: Report) -> None:
    """Copy the market of `settings` into the folder `target`, which must be new or empty.

    `target` gets its manifest last: without one it is no copy, and restore says so.
    """
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise BackupError(f"The folder {target} is not empty: name a new one.")
    except OSError as error:
        raise BackupError(f"The folder {target} cannot be used: {error.strerror}.") from error
    report("copying the database")
    _postgres(settings, "pg_dump", "--format=custom", *MARKET_ONLY, f"--file={target / 'database.dump'}")
    count = _copy_objects(Storage(settings), target, report)
    write_private(target / "secrets.json", {"secret_key": settings.secret_key})
    hashes = {name: _hash(target / name) for name in FILES}
    made = datetime.now(UTC).isoformat(timespec="seconds")
    write_private(
        target / "manifest.json", {"version": VERSION, "made": made, "objects": count, "files": hashes}
    )
    for name in FILES:
        (target / name).chmod(0o600)
    report(f"copied the database and {count} objects to {target}")


MARKET_ONLY = ("--no-owner", "--no-privileges", "--exclude-extension=pg_stat_statements")
"""What belongs to the server rather than to the market stays behind."""


def restore(source: Path, data_dir: Path, environ: dict[str, str], report: Report) -> None:
    """Bring a copy back into an empty data folder, or into the empty engines that `environ` names.

    The whole copy is checked first; a folder in which it fails is emptied again.
    """
    _check(source, report)
    if data_dir.exists() and any(data_dir.iterdir()):
        raise BackupError(f"The data folder {data_dir} is not empty: restore into a new one.")
    secret = str(read_json(source / "secrets.json")["secret_key"])
    if environ.get("CHOPHIEN_SECRET_KEY", secret) != secret:
        raise BackupError("CHOPHIEN_SECRET_KEY is not the key of this copy: unset it, or set the copy's own.")
    make_passable(data_dir)
    try:
        write_private(data_dir / "secrets.json", {"secret_key": secret})
        with Engines(data_dir, environ, report) as engines:
            settings = Settings.from_env(engines.environment())
            asyncio.run(_require_empty(settings))
            report("restoring the database")
            dump = str(source / "database.dump")
            _postgres(settings, "pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", dump)
            count = _return_objects(Storage(settings), source, report)
    except BaseException:
        _empty(data_dir)
        raise
    report(f"restored the database and {count} objects into {data_dir}")


def _empty(data_dir: Path) -> None:
    home = data_dir / "postgres"
    if home.is_symlink():
        shutil.rmtree(home.readlink(), ignore_errors=True)
    for path in data_dir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _check(source: Path, report: Report) -> None:
    """Raises BackupError unless `source` holds a whole, undamaged copy of a version we know."""
    manifest = _load(source / "manifest.json") if (source / "manifest.json").exists() else {}
    if not manifest:
        raise BackupError(f"{source} is not a finished copy of a market: it has no manifest.json.")
    if manifest.get("version") != VERSION:
        raise BackupError(
            f"{source} was made by another version ({manifest.get('version')}) of this program."
        )
    report(f"checking the copy of {manifest['made']}")
    for name, expected in manifest["files"].items():
        path = source / name
        if not path.exists():
            raise BackupError(f"The copy is not whole: {path} is missing.")
        if _hash(path) != expected:
            raise BackupError(f"The copy is damaged: {path} is not as it was written.")


def _load(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise BackupError(f"The copy is damaged: {path} is not valid JSON.") from error
    return value if isinstance(value, dict) else {}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _postgres(settings: Settings, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's own programs. The password goes by the environment: command lines are
    public."""
    url = urlsplit(settings.database_url)
    environ = {
        "PATH": os.defpath,
        "PGHOST": url.hostname or "",
        "PGPORT": str(url.port or 5432),
        "PGUSER": unquote(url.username or ""),
        "PGPASSWORD": unquote(url.password or ""),
    }
    target = f"--dbname={url.path.lstrip('/')}"
    done = subprocess.run(
        [bin_folder() / program, "--no-password", target, *arguments], env=environ, capture_output=True
    )
    if done.returncode != 0:
        raise BackupError(f"{program} failed: {done.stderr.decode(errors='replace').strip()}")


async def _require_empty(settings: Settings) -> None:
    """Into other people's engines we write only when there is nothing to overwrite."""
    link = await asyncpg.connect(settings.database_url, timeout=10)
    try:
        tables = await link.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await link.close()
    if tables:
        raise BackupError(f"The database already holds {tables} tables: restore into an empty one.")
    storage = Storage(settings)
    await storage.ensure_bucket()
    if next(_keys(storage), None) is not None:
        raise BackupError(f"The bucket {settings.s3_bucket} is not empty: restore into an empty one.")


def _keys(storage: Storage) -> Iterator[str]:
    for page in storage.client.get_paginator("list_objects_v2").paginate(Bucket=storage.bucket):
        for item in page.get("Contents", ()):
            yield item["Key"]


def _copy_objects(storage: Storage, target: Path, report: Report) -> int:
    """Every object into one tar, streamed. One that was deleted since it was listed belongs to no row any
    more."""
    described: dict[str, dict[str, Any]] = {}
    with tarfile.open(target / "objects.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for key in _keys(storage):
            try:
                answer = storage.client.get_object(Bucket=storage.bucket, Key=key)
            except storage.client.exceptions.NoSuchKey:
                continue
            entry = tarfile.TarInfo(key)
            entry.size = answer["ContentLength"]
            tar.addfile(entry, answer["Body"])
            described[key] = {name: answer[name] for name in KEPT if answer.get(name)}
            if len(described) % TELL_EVERY == 0:
                report(f"copied {len(described)} objects")
    (target / "objects.json").write_text(json.dumps(described))
    return len(described)


def _return_objects(storage: Storage, source: Path, report: Report) -> int:
    described = _load(source / "objects.json")
    count = 0
    with tarfile.open(source / "objects.tar") as tar:
        for entry in tar:
            body = tar.extractfile(entry)
            if body is None:
                raise BackupError(f"The copy is damaged: {entry.name} in objects.tar is no object.")
            storage.client.upload_fileobj(body, storage.bucket, entry.name, ExtraArgs=described[entry.name])
            count += 1
            if count % TELL_EVERY == 0:
                report(f"restored {count} objects")
    return count
