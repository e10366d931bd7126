"""Bytes in S3: photos, papers, recordings. boto3 is synchronous, so every call runs in a thread."""

from __future__ import annotations

import asyncio
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from commerce.core.settings import Settings

IMMUTABLE = "public, max-age=31536000, immutable"


class StorageUnavailable(Exception):
    """S3 does not answer or refuses us."""


class Storage:
    """One bucket."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint,
            aws_access_key_id=settings.s3_access_key,
            aws_secret_access_key=settings.s3_secret_key,
            region_name=settings.s3_region,
            config=Config(
                connect_timeout=3,
                read_timeout=20,
                retries={"max_attempts": 2},
                s3={"addressing_style": "path"},
            ),
        )

    async def put(self, key: str, body: bytes, content_type: str, *, cache: str = IMMUTABLE) -> None:
        """Store an object; returns once S3 has acknowledged it. Raises `StorageUnavailable`."""
        await self._call(
            self.client.put_object,
            Bucket=self.bucket,
            Key=key,
            Body=body,
            ContentType=content_type,
            CacheControl=cache,
        )

    async def get(self, key: str) -> tuple[bytes, str] | None:
        """(bytes, content type), or None when there is no such object."""
        try:
            answer = await self._call(self.client.get_object, Bucket=self.bucket, Key=key)
        except KeyError:
            return None
        body: bytes = await asyncio.to_thread(answer["Body"].read)
        return body, str(answer.get("ContentType", "application/octet-stream"))

    async def exists(self, key: str) -> bool:
        try:
            await self._call(self.client.head_object, Bucket=self.bucket, Key=key)
        except KeyError:
            return False
        return True

    async def delete(self, key: str) -> None:
        await self._call(self.client.delete_object, Bucket=self.bucket, Key=key)

    async def check(self) -> None:
        """Raises `StorageUnavailable` when the bucket cannot be reached."""
        try:
            await self._call(self.client.head_bucket, Bucket=self.bucket)
        except KeyError as error:
            raise StorageUnavailable(f"no bucket named {self.bucket}") from error

    async def ensure_bucket(self) -> None:
        try:
            await self.check()
        except StorageUnavailable:
            await self._call(self.client.create_bucket, Bucket=self.bucket)

    async def _call(self, function: Any, **arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(function, **arguments)
        except ClientError as error:
            code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if code == 404:
                raise KeyError(arguments.get("Key", self.bucket)) from error
            raise StorageUnavailable(str(error)) from error
        except (BotoCoreError, OSError) as error:
            raise StorageUnavailable(str(error)) from error
