"""What holds for every store; then what is S3's own, over a path that a test harms."""

import io
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from server.recorder.stores import s3
from server.recorder.stores.s3 import S3Store
from server.recorder.stores.store import LocalStore, Store, StoredFolder, split_s3
from tests.recorder.faulty_path import FaultyPath, faulty_path
from tests.recorder.key_services import REGION, moto_server

PART = 5 << 20
SMALL = random.Random(1).randbytes(70_000)
LARGE = random.Random(2).randbytes(2 * PART + 1000)


@contextmanager
def bucket(patch: pytest.MonkeyPatch) -> Iterator[FaultyPath]:
    """A bucket `recordings` in a server of its own, behind a path that can be harmed."""
    patch.setattr(s3, "PART_BYTES", PART)
    with moto_server(patch) as url, faulty_path("127.0.0.1", urlsplit(url).port or 0) as path:
        patch.setenv("AWS_ENDPOINT_URL", path.url)
        boto3.client("s3", REGION).create_bucket(
            Bucket="recordings", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        path.requests.clear()
        yield path


@contextmanager
def local_store(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Callable[[], Store]]:
    yield lambda: LocalStore(folder / "store")


@contextmanager
def s3_store(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Callable[[], Store]]:
    with bucket(patch):
        yield lambda: S3Store("recordings", "some/prefix")


@pytest.fixture(params=[local_store, s3_store], ids=lambda make: make.__name__)
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Store]]:
    """Opens the same store again, as another process does."""
    with request.param(tmp_path, monkeypatch) as made:
        yield made


def put(store: Store, name: str, data: bytes, recording: str = "iv") -> None:
    store.put(recording, name, io.BytesIO(data), len(data))


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_what_is_put_is_read_by_another_process(opened: Callable[[], Store], data: bytes) -> None:
    put(opened(), "00000.seg", data)
    folder = opened().folder("iv")
    assert (folder / "00000.seg").read_bytes() == data
    assert (folder / "00000.seg").is_file()
    assert [each.name for each in folder.iterdir()] == ["00000.seg"]


def test_a_range_is_read_wherever_it_is(opened: Callable[[], Store]) -> None:
    put(opened(), "a", LARGE)
    with (opened().folder("iv") / "a").open("rb") as file:
        for offset, count in ((0, 10), (3_000_000, 2_000_000), (5, 1), (len(LARGE) - 5, 100)):
            file.seek(offset)
            assert file.read(count) == LARGE[offset : offset + count]
        assert file.seek(0, io.SEEK_END) == len(LARGE)


def test_only_the_first_bytes_are_put(opened: Callable[[], Store]) -> None:
    opened().put("iv", "a", io.BytesIO(SMALL), 1000)
    assert (opened().folder("iv") / "a").read_bytes() == SMALL[:1000]


def test_a_source_that_is_too_short_is_refused(opened: Callable[[], Store]) -> None:
    for data in (SMALL, LARGE):
        with pytest.raises(OSError, match="were to be"):
            opened().put("iv", "a", io.BytesIO(data), len(data) + 1)
        assert not (opened().folder("iv") / "a").is_file()


def test_putting_again_replaces(opened: Callable[[], Store]) -> None:
    for data in (SMALL, b"new", LARGE):
        put(opened(), "manifest.json", data)
        assert (opened().folder("iv") / "manifest.json").read_bytes() == data


def test_it_tells_whether_it_has_these_bytes(opened: Callable[[], Store]) -> None:
    put(opened(), "manifest.json", SMALL)
    assert opened().has("iv", "manifest.json", SMALL)
    for data in (SMALL[:-1], SMALL[:-1] + b"x", SMALL + b"x", b""):
        assert not opened().has("iv", "manifest.json", data)
    assert not opened().has("iv", "manifest.tsr", SMALL)
    assert not opened().has("other", "manifest.json", SMALL)


def test_what_is_removed_is_there_no_more(opened: Callable[[], Store]) -> None:
    put(opened(), "a", SMALL)
    put(opened(), "b", SMALL)
    for _ in range(2):
        opened().remove("iv", "a")
    assert [each.name for each in opened().folder("iv").iterdir()] == ["b"]
    opened().remove("iv", "b")
    opened().remove("never", "a")
    with suppress(FileNotFoundError):  # a directory is gone with its last file
        assert not list(opened().folder("iv").iterdir())


def test_what_was_never_put_is_not_found(opened: Callable[[], Store]) -> None:
    put(opened(), "a", SMALL, "other")
    folder = opened().folder("iv")
    assert not (folder / "a").is_file()
    with pytest.raises(FileNotFoundError):
        (folder / "a").open("rb")


def test_recordings_do_not_see_each_other(opened: Callable[[], Store]) -> None:
    for recording in ("iv", "iv2", "i"):
        put(opened(), "a", recording.encode(), recording)
    folder = opened().folder("iv")
    assert [each.read_bytes() for each in folder.iterdir()] == [b"iv"]


def test_nothing_is_left_of_what_was_abandoned(opened: Callable[[], Store]) -> None:
    put(opened(), "a", SMALL)
    opened().abandon_parts(lambda recording, name: False)
    assert (opened().folder("iv") / "a").read_bytes() == SMALL


def test_a_folder_reads_what_is_here_here_and_the_rest_from_the_store(
    opened: Callable[[], Store], tmp_path: Path
) -> None:
    here = tmp_path / "iv"
    here.mkdir()
    (here / "a").write_bytes(b"local")
    for name in ("a", "b"):
        put(opened(), name, b"stored")
    folder = StoredFolder(here, opened().folder("iv"))
    assert [each.name for each in folder.iterdir()] == ["a", "b"]
    assert [each.read_bytes() for each in folder.iterdir()] == [b"local", b"stored"]
    (here / "a").unlink()
    assert (folder / "a").read_bytes() == b"stored"
    assert [(folder / name).is_file() for name in ("a", "c")] == [True, False]


# ---- S3 ---------------------------------------------------------------------------------


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyPath]:
    with bucket(monkeypatch) as made:
        yield made


def stored() -> S3Store:
    return S3Store("recordings", "p")


def begun() -> list[str]:
    uploads = (
        boto3.client("s3", REGION).list_multipart_uploads(Bucket="recordings").get("Uploads", [])
    )
    return [each["Key"] for each in uploads]


def test_a_url_names_bucket_and_prefix() -> None:
    assert split_s3("s3://recordings/some/prefix/") == ("recordings", "some/prefix")
    assert split_s3("s3://recordings") == ("recordings", "")


def test_another_service_is_asked_with_the_bucket_in_the_path(path: FaultyPath) -> None:
    put(stored(), "a", SMALL)
    assert path.requests[0] == "PUT /recordings/p/iv/a"


def test_a_cut_upload_goes_on_with_the_part_that_it_lacks(path: FaultyPath) -> None:
    path.harm = lambda request: "cut" if "partNumber=2" in request else None
    with pytest.raises(OSError, match=r"(?i)connection"):
        put(stored(), "a", LARGE)
    assert begun() == ["p/iv/a"]
    assert not (stored().folder("iv") / "a").is_file()
    path.harm = lambda request: None
    path.requests.clear()
    put(stored(), "a", LARGE)
    assert (path.count("partNumber=1"), path.count("partNumber=2")) == (0, 1)
    assert (stored().folder("iv") / "a").read_bytes() == LARGE
    assert begun() == []


def test_a_cut_upload_of_other_bytes_is_not_gone_on_with(path: FaultyPath) -> None:
    path.harm = lambda request: "cut" if "partNumber=3" in request else None
    with pytest.raises(OSError, match=r"(?i)connection"):
        put(stored(), "a", bytes(len(LARGE)))
    path.harm = lambda request: None
    put(stored(), "a", LARGE)
    assert (stored().folder("iv") / "a").read_bytes() == LARGE


def test_orphans_are_aborted_and_what_will_go_on_is_not(path: FaultyPath) -> None:
    path.harm = lambda request: "cut" if "partNumber=2" in request else None
    for name in ("a", "b"):
        with pytest.raises(OSError, match=r"(?i)connection"):
            put(stored(), name, LARGE)
    path.harm = lambda request: None
    stored().abandon_parts(lambda recording, name: (recording, name) == ("iv", "b"))
    assert begun() == ["p/iv/b"]


@pytest.mark.parametrize("harm", ["500", "cut"])
def test_what_the_service_refuses_is_an_os_error(path: FaultyPath, harm: str) -> None:
    put(stored(), "a", SMALL)
    path.harm = lambda request: harm
    with pytest.raises(OSError, match=r"(?i)500|connection"):
        put(stored(), "b", SMALL)
    with pytest.raises(OSError, match=r"(?i)500|connection") as refused:
        (stored().folder("iv") / "a").read_bytes()
    assert not isinstance(refused.value, FileNotFoundError), "nobody said that it is not there"


def test_a_service_that_says_nothing_is_not_waited_for_without_end(
    path: FaultyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_CONFIG", s3._CONFIG.merge(Config(read_timeout=0.2)))
    path.harm = lambda request: "hang"
    with pytest.raises(OSError, match="timeout"):
        put(stored(), "a", SMALL)


def test_a_service_that_is_not_there_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket(monkeypatch):
        pass
    with pytest.raises(OSError, match="Could not connect"):
        put(stored(), "a", SMALL)
    with pytest.raises(OSError, match="Could not connect"):
        stored().abandon_parts(lambda recording, name: False)


@pytest.mark.parametrize("lacks", ["both", "secret", "profile"])
def test_without_credentials_it_says_what_to_set(
    path: FaultyPath, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lacks: str
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    if lacks == "profile":
        monkeypatch.setenv("AWS_PROFILE", "recordings")
    else:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        if lacks == "both":
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(OSError, match=r"no credentials for S3 .*set AWS_ACCESS_KEY_ID and AWS_SEC"):
        put(stored(), "a", SMALL)


def test_one_failure_is_tried_again_at_once(path: FaultyPath) -> None:
    failures = iter(["500"])
    path.harm = lambda request: next(failures, None)
    put(stored(), "a", SMALL)
    assert (stored().folder("iv") / "a").read_bytes() == SMALL


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_bytes_that_change_on_the_way_are_found_out(path: FaultyPath, data: bytes) -> None:
    path.harm = lambda request: "flip" if request.startswith("PUT") else None
    with pytest.raises(OSError, match="other bytes"):
        put(stored(), "a", data)
    path.harm = lambda request: None
    put(stored(), "a", data)
    assert (stored().folder("iv") / "a").read_bytes() == data


def test_a_store_that_keeps_other_bytes_is_found_out(
    path: FaultyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored()
    head = s3._Files.head
    monkeypatch.setattr(s3._Files, "head", lambda self, key: head(self, key) | CHANGED)
    for changed in ({"ChecksumSHA256": "x"}, {"ContentLength": 1}):
        CHANGED.clear()
        CHANGED.update(changed)
        with pytest.raises(OSError, match="other bytes"):
            put(store, "a", SMALL)


CHANGED: dict[str, object] = {}


def test_a_store_that_tells_no_checksum_is_read_back(
    path: FaultyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = s3._Files.head
    monkeypatch.setattr(
        s3._Files, "head", lambda self, key: head(self, key) | {"ChecksumSHA256": None}
    )
    for data in (SMALL, LARGE):
        path.requests.clear()
        put(stored(), "a", data)
        assert path.count("GET /recordings/p/iv/a") == -(-len(data) // s3.READ_BYTES)
    read = s3._Files.read
    monkeypatch.setattr(s3._Files, "read", lambda *call: bytes(len(read(*call))))
    with pytest.raises(OSError, match="other bytes"):
        put(stored(), "a", SMALL)


def test_reading_a_part_fetches_no_more_than_a_block(path: FaultyPath) -> None:
    put(stored(), "a", LARGE)
    path.requests.clear()
    with (stored().folder("iv") / "a").open("rb") as file:
        file.seek(4_000_000)
        file.read(60)
        file.read(60)
    assert path.requests == ["HEAD /recordings/p/iv/a", "GET /recordings/p/iv/a"]
