"""Where the bytes of a session lie in S3, and the few calls that move them.

    video/{session}/epoch/{number}-{id}.json   a recording of the host: its header and clock, to go on from
    video/{session}/init/{id}.mp4              init segments, named by content
    video/{session}/main/{name}.m4s            segments; the name is the index entry (`playlist.Name`)
    video/{session}/low/{name}.m4s
    video/{session}/poster.jpg
    video/{session}/stills/{minute}.jpg        the first picture of each minute since 1970
    video/{session}/recording/…                the assembled recording, and `recording.json` with its hashes
    video/{session}/quality.json               how it looked and sounded
    video/{session}/gone.json, hold.json       taken down; kept by law

The bucket is private: what the public may see goes through `delivery`, which is what makes a takedown one
small object and not a race against a listing. boto3 is synchronous, so each call runs in a thread.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from streaming.video.errors import ArchiveUnavailable

MEDIA = {".m4s": "video/mp4", ".mp4": "video/mp4", ".jpg": "image/jpeg", ".json": "application/json"}
IMMUTABLE = "public, max-age=31536000, immutable"
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    endpoint: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    bucket: str = "chophien"
    region: str = "us-east-1"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing."""

    key: str
    size: int


class Archive:
    """One bucket. Every method raises `ArchiveUnavailable` when S3 does not answer or refuses."""

    def __init__(self, settings: ArchiveSettings, threads: int = 16) -> None:
        self.bucket = settings.bucket
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=settings.endpoint,
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            region_name=settings.region,
            config=Config(
                connect_timeout=3,
                read_timeout=20,
                retries={"max_attempts": 2},
                max_pool_connections=threads,
                s3={"addressing_style": "path"},
                # Checksums of every part cost more than the copy; the recording has its own SHA-256.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def put(self, key: str, body: bytes, note: Mapping[str, str] | None = None) -> None:
        """Returns once S3 has acknowledged the object. `note` is stored beside it (ASCII)."""
        await self._call(
            self._client.put_object,
            Bucket=self.bucket,
            Key=key,
            Body=body,
            ContentType=_kind(key),
            CacheControl=IMMUTABLE,
            Metadata=dict(note or {}),
        )

    async def get(self, key: str, begin: int | None = None, end: int | None = None) -> bytes | None:
        """The bytes, or those from `begin` up to `end` (not included); None when there is no such object."""
        extra = {} if begin is None else {"Range": f"bytes={begin}-{'' if end is None else end - 1}"}

        def read() -> bytes:
            return bytes(self._client.get_object(Bucket=self.bucket, Key=key, **extra)["Body"].read())

        try:
            found: bytes = await self._call(read)
            return found
        except KeyError:
            return None

    async def note(self, key: str) -> dict[str, str] | None:
        """What was noted beside an object; None when there is no such object."""
        try:
            answer = await self._call(self._client.head_object, Bucket=self.bucket, Key=key)
        except KeyError:
            return None
        return dict(answer.get("Metadata", {}))

    async def size(self, key: str) -> int | None:
        try:
            answer = await self._call(self._client.head_object, Bucket=self.bucket, Key=key)
        except KeyError:
            return None
        return int(answer["ContentLength"])

    async def list(self, prefix: str, after: str = "") -> list[Entry]:
        """All objects whose key begins with `prefix`, in order of their keys."""

        def read() -> list[Entry]:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, **({"StartAfter": after} if after else {})
            )
            return [Entry(item["Key"], item["Size"]) for page in pages for item in page.get("Contents", [])]

        found: list[Entry] = await self._call(read)
        return found

    async def delete(self, keys: Iterable[str]) -> int:
        """Deletes objects; how many. Asking for one that is not there is no error."""
        wanted = list(keys)
        for at in range(0, len(wanted), 1000):
            batch = {"Objects": [{"Key": key} for key in wanted[at : at + 1000]], "Quiet": True}
            answer = await self._call(self._client.delete_objects, Bucket=self.bucket, Delete=batch)
            if answer.get("Errors"):
                raise ArchiveUnavailable(f"not deleted: {len(answer['Errors'])}")
        return len(wanted)

    async def put_file(self, key: str, body: BinaryIO) -> None:
        """Stores a file of any size, in pieces."""
        await self._call(
            self._client.upload_fileobj, body, self.bucket, key, ExtraArgs={"ContentType": _kind(key)}
        )

    async def ensure_bucket(self) -> None:
        try:
            await self._call(self._client.head_bucket, Bucket=self.bucket)
        except KeyError:
            await self._call(self._client.create_bucket, Bucket=self.bucket)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a call of boto3 in a thread. Raises KeyError for what is not there."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, functools.partial(function, *args, **kwargs))
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                raise KeyError(code) from error
            raise ArchiveUnavailable(code) from error
        except (BotoCoreError, OSError) as error:
            raise ArchiveUnavailable(type(error).__name__) from error


def still_key(session: str, minute: int) -> str:
    return f"{prefix(session)}stills/{minute}.jpg"


def prefix(session: str) -> str:
    return f"video/{session}/"


def _kind(key: str) -> str:
    return MEDIA.get(key[key.rfind(".") :], "application/octet-stream")
