"""Static files: kept for ever under an address of the release, small on the wire, nothing else reachable."""

from __future__ import annotations

import gzip
import re

import httpx
import pytest

from commerce.core import static


async def test_a_released_address_is_kept_for_ever_and_compressed(client: httpx.AsyncClient) -> None:
    address = static.address("css/market.css")
    whole = (static.FOLDER / "css" / "market.css").read_bytes()
    answer = await client.get(address, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["cache-control"] == static.KEPT
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < len(whole) / 3
    assert answer.content == whole
    plain = await client.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == whole


async def test_another_release_and_none_get_todays_file_that_is_not_kept(client: httpx.AsyncClient) -> None:
    for address in ("/static/0123456789ab/js/page.js", "/static/js/page.js"):
        answer = await client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == static.NOT_KEPT
        again = await client.get(address, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        assert again.content == b""


@pytest.mark.parametrize(
    "path",
    [
        "/static/nothing.css",
        "/static/../base.html",
        "/static/%2e%2e/base.html",
        "/static/css/",
        "/static/x/../../words.py",
    ],
)
async def test_nothing_else_is_reachable(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404


def test_modules_import_what_is_served_beside_them() -> None:
    scripts = [path for name, path in static.paths().items() if re.fullmatch(r"js/[\w-]+\.js", name)]
    assert scripts
    for script in scripts:
        imports = re.findall(r"""(?:from|import\()\s*["'](\.[^"']+)["']""", script.read_text("utf-8"))
        for wanted in imports:
            target = (script.parent / wanted).resolve().relative_to(static.FOLDER.resolve()).as_posix()
            assert target.startswith("vendor/") or target in static.paths(), f"{script.name}: {wanted}"


def test_compressed_bodies_are_the_same_each_time() -> None:
    file = static.load("icons/icons.svg")
    assert file.gzipped is not None
    assert gzip.decompress(file.gzipped) == file.body
