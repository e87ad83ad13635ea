"""Keeps recordings in S3 or what speaks its protocol (MinIO, Ceph). What goes there is ciphertext
and manifests, never a key.

Where and as whom: AWS's standard chain (AWS_REGION, AWS_PROFILE, AWS_ACCESS_KEY_ID, ...), and
AWS_ENDPOINT_URL_S3 (or AWS_ENDPOINT_URL) for another service, which is spoken to with the
bucket in the path. Needs s3:GetObject, PutObject, ListBucket, ListBucketMultipartUploads,
ListMultipartUploadParts and AbortMultipartUpload; where the sources of what was compressed are
destroyed, DeleteObject. Everything here blocks: for threads of its own.
"""

import base64
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, BinaryIO, Literal, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from server.recorder.stores.files import SizedRaw
from server.recorder.stores.store import Readable

#: Files up to this size go in one request, larger ones in parts of it (S3 allows 5 MiB or more).
PART_BYTES = 8 << 20
#: What one request reads ahead, hence what an open file holds in memory.
READ_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 30.0
_ABSENT = {"404", "NoSuchKey", "NotFound"}

_T = TypeVar("_T")


class S3Store:
    """The prefix of a bucket; a `Store`. Errors are OSErrors."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._files = _Files(_client(), bucket)
        self._prefix = f"{prefix}/" if prefix else ""

    def put(self, recording: str, name: str, source: BinaryIO, size: int) -> None:
        key = f"{self._prefix}{recording}/{name}"
        if size <= PART_BYTES:
            self._files.put_whole(key, _exactly(source, size))
        else:
            self._files.put_parts(key, source, size)

    def has(self, recording: str, name: str, data: bytes) -> bool:
        return self._files.has(f"{self._prefix}{recording}/{name}", data)

    def folder(self, recording: str) -> "S3Folder":
        return S3Folder(self._files, f"{self._prefix}{recording}/")

    def remove(self, recording: str, name: str) -> None:
        self._files.delete(f"{self._prefix}{recording}/{name}")

    def abandon_parts(self, wanted: Callable[[str, str], bool]) -> None:
        for key, upload_id in self._files.uploads(self._prefix):
            recording, _, name = key.removeprefix(self._prefix).rpartition("/")
            if not wanted(recording, name):
                self._files.abort(key, upload_id)


def open_s3_folder(bucket: str, prefix: str) -> "S3Folder":
    """To read: of one recording, or of all."""
    return S3Folder(_Files(_client(), bucket), f"{prefix}/" if prefix else "")


class S3Folder:
    """What lies under a prefix that ends with a slash; a `Readable`."""

    def __init__(self, files: "_Files", prefix: str) -> None:
        self._files, self._prefix = files, prefix

    @property
    def name(self) -> str:
        return self._prefix.rstrip("/").rpartition("/")[2]

    def iterdir(self) -> Iterator[Readable]:
        """Objects, then what lies deeper, as folders."""
        files = map(self.__truediv__, self._files.names(self._prefix))
        return chain(files, self.folders())

    def folders(self) -> list["S3Folder"]:
        names = self._files.folders(self._prefix)
        return [S3Folder(self._files, f"{self._prefix}{name}/") for name in names]

    def __truediv__(self, name: str, /) -> "S3File":
        return S3File(self._files, self._prefix + name)

    def is_file(self) -> bool:
        return False

    def open(self, mode: Literal["rb"], /) -> io.BufferedReader:
        raise IsADirectoryError(self._prefix)

    def read_bytes(self) -> bytes:
        raise IsADirectoryError(self._prefix)


class S3File:
    """An object; a `Readable`."""

    def __init__(self, files: "_Files", key: str) -> None:
        self._files, self._key = files, key

    @property
    def name(self) -> str:
        return self._key.rpartition("/")[2]

    def iterdir(self) -> Iterator[Readable]:
        raise NotADirectoryError(self._key)

    def __truediv__(self, name: str, /) -> Readable:
        raise NotADirectoryError(self._key)

    def is_file(self) -> bool:
        try:
            self._files.head(self._key)
        except FileNotFoundError:
            return False
        return True

    def open(self, mode: Literal["rb"], /) -> io.BufferedReader:
        """By ranges of at most `READ_BYTES`. FileNotFoundError."""
        size: int = self._files.head(self._key)["ContentLength"]
        return io.BufferedReader(_Ranges(self._files, self._key, size), READ_BYTES)

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            return file.read()


class _Ranges(SizedRaw):
    """An object, read a range at a time."""

    def __init__(self, files: "_Files", key: str, size: int) -> None:
        super().__init__(size)
        self._files, self._key = files, key

    def readall(self) -> bytes:
        """Not as the base class does, by 8 KiB."""
        blocks = []
        while block := self.read(READ_BYTES):
            blocks.append(block)
        return b"".join(blocks)

    def read_at(self, offset: int, count: int) -> bytes:
        return self._files.read(self._key, offset, count)


class _Files:
    """The requests to one bucket; each raises OSError, FileNotFoundError for an absent key."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def head(self, key: str) -> dict[str, Any]:
        return self._ask(
            lambda: self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        )

    def read(self, key: str, offset: int, count: int) -> bytes:
        span = f"bytes={offset}-{offset + count - 1}"
        return self._ask(
            lambda: bytes(
                self._client.get_object(Bucket=self._bucket, Key=key, Range=span)["Body"].read()
            )
        )

    def names(self, prefix: str) -> list[str]:
        """Of the objects directly under ``prefix``."""
        found = self._list(prefix, "Contents")
        return sorted(each["Key"].removeprefix(prefix) for each in found)

    def folders(self, prefix: str) -> list[str]:
        """What goes on with a slash under ``prefix``."""
        found = self._list(prefix, "CommonPrefixes")
        return sorted(each["Prefix"].removeprefix(prefix).rstrip("/") for each in found)

    def _list(self, prefix: str, what: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("list_objects_v2").paginate
        return self._ask(
            lambda: [
                each
                for page in pages(Bucket=self._bucket, Prefix=prefix, Delimiter="/")
                for each in page.get(what, [])
            ]
        )

    def delete(self, key: str) -> None:
        self._ask(lambda: self._client.delete_object(Bucket=self._bucket, Key=key))

    def has(self, key: str, data: bytes) -> bool:
        """As one whole."""
        digest = hashlib.sha256(data)
        try:
            return self._holds(key, len(data), _text(digest.digest()), digest.hexdigest())
        except FileNotFoundError:
            return False

    def put_whole(self, key: str, data: bytes) -> None:
        digest = hashlib.sha256(data)
        checksum = _text(digest.digest())
        self._ask(
            lambda: self._client.put_object(
                Bucket=self._bucket, Key=key, Body=data, ChecksumSHA256=checksum
            )
        )
        self._prove(key, len(data), checksum, digest.hexdigest())

    def put_parts(self, key: str, source: BinaryIO, size: int) -> None:
        """Going on with an upload that another process began."""
        upload_id, known = self._resume(key)
        whole, sums, parts = hashlib.sha256(), b"", []
        for number, offset in enumerate(range(0, size, PART_BYTES), 1):
            data = _exactly(source, min(PART_BYTES, size - offset))
            digest = hashlib.sha256(data).digest()
            whole.update(data)
            sums += digest
            part = {"PartNumber": number, "ChecksumSHA256": _text(digest)}
            there = known.get(number)
            if there is not None and _is_of(there, data, digest):
                tag = there["ETag"]
            else:
                tag = self._put_part(key, upload_id, part, data)
            parts.append({**part, "ETag": tag})
        self._ask(
            lambda: self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
            )
        )
        # The checksum of an object of parts is that of its parts' checksums.
        self._prove(key, size, _text(hashlib.sha256(sums).digest()), whole.hexdigest())

    def uploads(self, prefix: str) -> list[tuple[str, str]]:
        """(key, upload id) of those begun under ``prefix`` and not ended, the newest last."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate
        found: list[dict[str, Any]] = self._ask(
            lambda: [
                each
                for page in pages(Bucket=self._bucket, Prefix=prefix)
                for each in page.get("Uploads", [])
            ]
        )
        return [(each["Key"], each["UploadId"]) for each in found]

    def abort(self, key: str, upload_id: str) -> None:
        self._ask(
            lambda: self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=upload_id
            )
        )

    def _resume(self, key: str) -> tuple[str, dict[int, dict[str, Any]]]:
        """An upload's id, and the parts it has, by number."""
        begun = [upload_id for found, upload_id in self.uploads(key) if found == key]
        if not begun:
            made = self._ask(
                lambda: self._client.create_multipart_upload(
                    Bucket=self._bucket, Key=key, ChecksumAlgorithm="SHA256"
                )
            )
            return made["UploadId"], {}
        for former in begun[:-1]:
            self.abort(key, former)
        parts: list[dict[str, Any]] = self._ask(
            lambda: [
                part
                for page in self._client.get_paginator("list_parts").paginate(
                    Bucket=self._bucket, Key=key, UploadId=begun[-1]
                )
                for part in page.get("Parts", [])
            ]
        )
        return begun[-1], {part["PartNumber"]: part for part in parts}

    def _put_part(self, key: str, upload_id: str, part: Mapping[str, Any], data: bytes) -> str:
        answer = self._ask(
            lambda: self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload_id, Body=data, **part
            )
        )
        return str(answer["ETag"])

    def _prove(self, key: str, size: int, checksum: str, digest: str) -> None:
        """OSError unless the store has these bytes."""
        if not self._holds(key, size, checksum, digest):
            raise OSError(errno.EIO, f"the store holds other bytes than were sent as {key}")

    def _holds(self, key: str, size: int, checksum: str, digest: str) -> bool:
        """A store that tells no checksum is read back."""
        found = self.head(key)
        if found["ContentLength"] != size:
            return False
        told, *_ = (found.get("ChecksumSHA256") or "").split("-")
        if not told:
            whole = hashlib.sha256()
            for offset in range(0, size, READ_BYTES):
                whole.update(self.read(key, offset, min(READ_BYTES, size - offset)))
            told, checksum = whole.hexdigest(), digest
        return bool(told == checksum)

    def _ask(self, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                raise FileNotFoundError(errno.ENOENT, str(error)) from error
            raise OSError(errno.EREMOTEIO, str(error)) from error
        except BotoCoreError as error:
            raise OSError(errno.EREMOTEIO, _said(error)) from error


def _said(error: BotoCoreError) -> str:
    match error:
        case NoCredentialsError() | PartialCredentialsError() | ProfileNotFound():
            what = str(error).rstrip(".")
            return f"no credentials for S3 ({what}): {_CREDENTIALS}"
        case _:
            return str(error)


_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile of "
    "~/.aws/credentials, or give the machine a role"
)


def _client() -> Any:
    try:
        # boto3 itself knows AWS_DEFAULT_REGION alone.
        session = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        client = session.client("s3", config=_CONFIG)
        if ".amazonaws." in client.meta.endpoint_url:
            return client
        # Other services have no host name for each bucket.
        return session.client("s3", config=_CONFIG.merge(Config(s3={"addressing_style": "path"})))
    except BotoCoreError as error:
        raise OSError(errno.EINVAL, _said(error)) from error
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error


_CONFIG = Config(
    connect_timeout=CONNECT_TIMEOUT_S,
    read_timeout=READ_TIMEOUT_S,
    retries={"total_max_attempts": 2},
    # Ours are SHA-256 where it matters; other services refuse some that AWS would add.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise OSError(errno.EIO, f"{size} bytes were to be stored, there are {len(data)}")
    return data


def _is_of(part: Mapping[str, Any], data: bytes, digest: bytes) -> bool:
    """Whether a stored part is ``data``; if its checksum is not told, by its tag, mostly MD5.

    If a tag is something else, the part is sent again; the whole is proved at the end.
    """
    if part["Size"] != len(data):
        return False
    if "ChecksumSHA256" in part:
        return bool(part["ChecksumSHA256"] == _text(digest))
    tag: str = part["ETag"]
    return tag.strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
