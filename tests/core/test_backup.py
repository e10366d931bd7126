"""A market copied and brought back: rows, objects with their types, and the key that signs."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from commerce.core.backup import BackupError, backup, restore
from commerce.core.embedded import Engines, temporary_folder
from commerce.core.settings import Settings
from commerce.core.storage import Storage

PHOTO = bytes(range(256)) * 40_000  # 10 MB: uploaded in parts
KEY = "photos/Cà phê Cư M'gar.jpg"


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path


def silent(line: str) -> None:
    pass


def sql(url: str, statement: str) -> Any:
    async def ask() -> Any:
        link = await asyncpg.connect(url)
        try:
            return await link.fetchval(statement)
        finally:
            await link.close()

    return asyncio.run(ask())


@pytest.fixture
def copy(settings: Settings, tmp_path: Path) -> Path:
    """A backup of a market with one commune and one photo."""
    sql(settings.database_url, "CREATE TABLE proof AS SELECT 'Dliê Ya' AS name")
    storage = Storage(settings)
    storage.client.put_object(
        Bucket=storage.bucket, Key=KEY, Body=PHOTO, ContentType="image/jpeg", CacheControl="no-cache"
    )
    backup(settings, tmp_path / "copy", silent)
    return tmp_path / "copy"


def test_a_market_comes_back_whole(settings: Settings, copy: Path, folder: Path) -> None:
    said: list[str] = []
    restore(copy, folder, {}, said.append)
    with Engines(folder, environ={}) as engines:
        again = Settings.from_env(engines.environment())
        assert again.secret_key == settings.secret_key
        assert again.database_url != settings.database_url
        assert sql(again.database_url, "SELECT name FROM proof") == "Dliê Ya"
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert sql(again.database_url, tables) == sql(settings.database_url, tables) > 10
        storage = Storage(again)
        answer = storage.client.get_object(Bucket=storage.bucket, Key=KEY)
        assert answer["Body"].read() == PHOTO
        assert (answer["ContentType"], answer["CacheControl"]) == ("image/jpeg", "no-cache")
    assert said[-1] == f"restored the database and 1 objects into {folder}"


def test_a_copy_is_private(copy: Path) -> None:
    assert copy.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o777 for path in copy.iterdir()} == {0o600}


def test_a_damaged_or_unfinished_copy_is_refused_before_anything_happens(copy: Path, folder: Path) -> None:
    with (copy / "database.dump").open("r+b") as dump:
        dump.seek(100)
        dump.write(b"broken")
    with pytest.raises(BackupError, match=r"damaged.*database\.dump"):
        restore(copy, folder, {}, silent)
    (copy / "objects.tar").unlink()
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"].pop("database.dump")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BackupError, match=r"objects\.tar is missing"):
        restore(copy, folder, {}, silent)
    (copy / "manifest.json").unlink()
    with pytest.raises(BackupError, match="not a finished copy"):
        restore(copy, folder, {}, silent)
    assert list(folder.iterdir()) == []


def test_nothing_is_overwritten(
    settings: Settings, environ: dict[str, str], copy: Path, folder: Path
) -> None:
    with pytest.raises(BackupError, match="not empty"):
        backup(settings, copy, silent)
    (folder / "mine").write_text("")
    with pytest.raises(BackupError, match="not empty"):
        restore(copy, folder, {}, silent)
    (folder / "mine").unlink()
    with pytest.raises(BackupError, match=r"already holds \d+ tables"):
        restore(copy, folder, environ, silent)
    assert list(folder.iterdir()) == []
    with pytest.raises(BackupError, match="not the key of this copy"):
        restore(copy, folder, environ | {"CHOPHIEN_SECRET_KEY": "x" * 40}, silent)


def test_a_restore_that_fails_leaves_an_empty_folder(copy: Path, folder: Path) -> None:
    dump = copy / "database.dump"
    shutil.copy(copy / "objects.json", dump)  # no dump at all, yet as the manifest says
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["database.dump"] = manifest["files"]["objects.json"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BackupError, match="pg_restore failed"):
        restore(copy, folder, {}, silent)
    assert list(folder.iterdir()) == []
