"""The keys of a data directory: made once, wrapped, rotated, and missed loudly."""

import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from server.recorder.keys.key_ring import KeyRing, load_public_key, open_keys, rotate
from server.recorder.keys.root_key import FileRootKey, KeyProblem, RootKey, Wrapped
from server.recorder.replay.reader import open_reader
from tests.recorder.conftest import Desk
from tests.recorder.key_services import (
    PROVIDERS,
    Provider,
    env_provider,
    file_provider,
    kms_provider,
    pkcs11_provider,
    vault_provider,
)

ID = b"i" * 16


def unheeded(done: int, of: int) -> None:
    pass


@pytest.fixture(params=PROVIDERS, ids=lambda make: make.__name__.removesuffix("_provider"))
def provider(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Provider]:
    with request.param(tmp_path, monkeypatch) as made:
        yield made


def test_keys_are_made_at_first_use_and_found_again(tmp_path: Path) -> None:
    first, second = open_keys(tmp_path), open_keys(tmp_path)
    assert first.public_key == second.public_key
    assert load_public_key(tmp_path / "signing.pub") == first.public_key
    assert first.root.version() == second.root.version()


def test_secret_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    open_keys(tmp_path).create_recording_key("iv", ID)
    for name in ("root.key", "signing.key", "keys.sqlite", "keys.sqlite-journal"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE((tmp_path / "signing.pub").stat().st_mode) == 0o644


def test_a_recording_key_unwraps_for_its_own_recording_alone(
    provider: Provider, tmp_path: Path
) -> None:
    keys = open_keys(tmp_path / "keys", provider.open())
    key = keys.create_recording_key("iv", ID)
    assert keys.recording_key("iv", ID) == key
    assert open_keys(tmp_path / "keys", provider.open()).recording_key("iv", ID) == key
    assert key not in keys.database.path.read_bytes()
    with pytest.raises(KeyProblem, match="no key of the recording"):
        keys.recording_key("iv", b"j" * 16)


def test_two_recordings_of_an_interview_share_the_candidates_key(tmp_path: Path) -> None:
    keys = open_keys(tmp_path)
    one, two = (keys.create_recording_key("iv", each * 16) for each in (b"1", b"2"))
    assert one != two
    assert len(keys.database.wrapped()) == 1
    assert keys.recording_key("iv", b"2" * 16) == two


def test_a_key_moved_to_another_place_in_the_database_opens_nothing(tmp_path: Path) -> None:
    keys = open_keys(tmp_path)
    for interview in ("one", "two"):
        keys.create_recording_key(interview, interview.encode().ljust(16))
    with keys.database.writing() as db:
        db._db.execute("UPDATE candidate_keys SET interview = 'x' WHERE interview = 'one'")
        db._db.execute("UPDATE candidate_keys SET interview = 'one' WHERE interview = 'two'")
        candidate = "(SELECT candidate FROM candidate_keys WHERE interview = 'one')"
        db._db.execute(f"UPDATE recording_keys SET candidate = {candidate}")
    for interview in ("one", "two"):
        with pytest.raises(KeyProblem):
            open_keys(tmp_path).recording_key("one", interview.encode().ljust(16))


def test_a_candidates_key_is_asked_for_once(tmp_path: Path) -> None:
    class Counting(FileRootKey):
        asked = 0

        def unwrap(self, wrapped: Wrapped, context: str) -> bytes:
            self.asked += 1
            return super().unwrap(wrapped, context)

    open_keys(tmp_path).create_recording_key("iv", ID)
    root = Counting(tmp_path / "root.key")
    keys = open_keys(tmp_path, root)
    for _ in range(3):
        keys.recording_key("iv", ID)
    assert root.asked == 2, "once to try the root key out"


def test_a_key_that_was_never_made_and_one_that_was_destroyed_are_told_apart(
    tmp_path: Path,
) -> None:
    keys = open_keys(tmp_path)
    with pytest.raises(KeyProblem, match="no key of interview iv"):
        keys.recording_key("iv", ID)
    keys.create_recording_key("iv", ID)
    keys.recording_key("iv", ID)
    keys.database.destroy("iv", 1)
    for call in (keys.recording_key, keys.create_recording_key):
        with pytest.raises(KeyProblem, match="was destroyed"):
            call("iv", ID)
    assert keys._opened == {}, "nor is it in memory any more"


# ---- what is missing or wrong -----------------------------------------------------------


def test_a_lost_root_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    open_keys(tmp_path).create_recording_key("iv", ID)
    (tmp_path / "root.key").unlink()
    with pytest.raises(KeyProblem, match="restore it"):
        open_keys(tmp_path)
    assert not (tmp_path / "root.key").exists()


def test_another_root_key_of_the_same_name_is_found_out_at_the_start(tmp_path: Path) -> None:
    open_keys(tmp_path).create_recording_key("iv", ID)
    FileRootKey(tmp_path / "root.key").make()
    with pytest.raises(KeyProblem, match="does not hold root key"):
        open_keys(tmp_path)


def test_another_kind_of_root_key_says_what_to_type(tmp_path: Path) -> None:
    open_keys(tmp_path).create_recording_key("iv", ID)
    other = FileRootKey(tmp_path / "other.key", "file:other.key")
    with pytest.raises(KeyProblem, match=r"rotate --root-key file:other\.key --from file"):
        open_keys(tmp_path, other)
    assert not other.path.exists()


def test_a_lost_key_database_is_not_replaced_in_silence(tmp_path: Path) -> None:
    open_keys(tmp_path).create_recording_key("iv", ID)
    (tmp_path / "keys.sqlite").unlink()
    with pytest.raises(KeyProblem, match="put its newest backup back"):
        open_keys(tmp_path)
    (tmp_path / "keys.sqlite").touch()
    open_keys(tmp_path).create_recording_key("iv", ID)


def test_a_lost_signing_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    before = open_keys(tmp_path)
    before.create_recording_key("iv", ID)
    (tmp_path / "signing.key").unlink()
    with pytest.raises(KeyProblem, match=r"signing\.key is missing"):
        open_keys(tmp_path)
    assert load_public_key(tmp_path / "signing.pub") == before.public_key


def test_what_is_no_signing_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite").touch()
    (tmp_path / "signing.key").write_text("nothing")
    with pytest.raises(KeyProblem):
        open_keys(tmp_path)
    (tmp_path / "signing.pub").write_text("nothing")
    with pytest.raises(KeyProblem):
        load_public_key(tmp_path / "signing.pub")


# ---- rotation ---------------------------------------------------------------------------


def recorded(keys: KeyRing, count: int = 3) -> dict[str, bytes]:
    return {f"iv{n}": keys.create_recording_key(f"iv{n}", ID) for n in range(count)}


def opened(keys: KeyRing, made: dict[str, bytes]) -> dict[str, bytes]:
    return {interview: keys.recording_key(interview, ID) for interview in made}


def test_a_rotation_rewraps_by_the_new_version_while_a_server_runs(
    provider: Provider, tmp_path: Path
) -> None:
    folder = tmp_path / "keys"
    server = open_keys(folder, provider.open())
    made = recorded(server)
    if provider.renew is None:
        assert rotate(folder, provider.open(), provider.open(), unheeded) == 0
        return
    if provider.name != "file":
        provider.renew()
    (before,) = server.database.wrapped_by()
    assert rotate(folder, provider.open(), provider.open(), unheeded) == 3
    assert server.database.wrapped_by() == {(provider.name, server.root.version()): 3}
    assert (provider.name, server.root.version()) != before
    assert opened(server, made) == opened(open_keys(folder, provider.open()), made) == made
    assert server.create_recording_key("later", ID) == server.recording_key("later", ID)


@pytest.mark.parametrize("to", [env_provider, vault_provider, kms_provider, pkcs11_provider])
def test_keys_move_from_a_file_to_another_root_key_and_back(
    to: Callable[..., AbstractContextManager[Provider]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "keys"
    made = recorded(open_keys(folder))
    with to(tmp_path, monkeypatch) as other, file_provider(tmp_path, monkeypatch):
        file = FileRootKey(folder / "root.key")
        assert rotate(folder, other.open(), file, unheeded) == 3
        file.path.unlink()
        assert opened(open_keys(folder, other.open()), made) == made
        assert rotate(folder, file, other.open(), unheeded) == 3
        assert opened(open_keys(folder), made) == made


class Crashing(FileRootKey):
    """Gives up after some calls, as a process that is killed does."""

    def __init__(self, path: Path, left: int) -> None:
        super().__init__(path)
        self.left = left

    def wrap(self, key: bytes, context: str) -> Wrapped:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().wrap(key, context)


@pytest.mark.parametrize("survived", range(4))
def test_a_rotation_that_was_cut_goes_on_where_it_was(survived: int, tmp_path: Path) -> None:
    server = open_keys(tmp_path)
    made = recorded(server)
    before = server.root.version()
    crashing = Crashing(tmp_path / "root.key", survived)
    try:
        rotate(tmp_path, crashing, crashing, unheeded)
    except KeyboardInterrupt:
        assert opened(open_keys(tmp_path), made) == made
        assert rotate(tmp_path, server.root, server.root, unheeded) == 3 - survived
    assert opened(server, made) == opened(open_keys(tmp_path), made) == made
    assert len((tmp_path / "root.key").read_text().split()) == 1, "the former version is gone"
    assert before != server.root.version()


def test_a_key_made_during_a_rotation_is_not_left_to_the_former_version(tmp_path: Path) -> None:
    server = open_keys(tmp_path)
    made = recorded(server)

    def meanwhile(done: int, of: int) -> None:
        made[f"during{done}"] = server.create_recording_key(f"during{done}", ID)

    assert rotate(tmp_path, server.root, server.root, meanwhile) == 3
    assert len(made) == 6
    assert opened(open_keys(tmp_path), made) == made


def test_a_wrong_former_root_key_changes_nothing(tmp_path: Path) -> None:
    made = recorded(open_keys(tmp_path))
    target: RootKey = FileRootKey(tmp_path / "new.key", "file:new.key")
    wrong = FileRootKey(tmp_path / "wrong.key")
    wrong.make()
    with pytest.raises(KeyProblem, match="does not hold"):
        rotate(tmp_path, target, wrong, unheeded)
    with pytest.raises(KeyProblem, match="--from file"):
        rotate(tmp_path, target, target, unheeded)
    assert opened(open_keys(tmp_path), made) == made


def test_rotation_touches_no_media_and_all_of_it_still_opens(desk: Desk) -> None:
    desk.seal()

    def there() -> dict[str, tuple[bytes, int, int]]:
        states = ((path, path.stat()) for path in sorted(desk.path().iterdir()))
        return {
            path.name: (path.read_bytes(), state.st_ino, state.st_mtime_ns)
            for path, state in states
        }

    before, folder = there(), desk.data_dir / "keys"
    assert len(before) == 2
    assert rotate(folder, desk.keys.root, desk.keys.root, unheeded) == 1
    assert there() == before
    reader = open_reader(desk.data_dir, "iv", open_keys(folder))
    assert len(list(reader.all_samples())) == len(reader) > 2


def test_a_key_database_of_before_a_rotation_says_which_root_key_it_lacks(tmp_path: Path) -> None:
    keys = open_keys(tmp_path)
    recorded(keys)
    former = keys.root.version()
    backup = tmp_path.parent / "backup.sqlite"
    keys.database.back_up(backup)
    rotate(tmp_path, keys.root, keys.root, unheeded)
    backup.replace(tmp_path / "keys.sqlite")
    with pytest.raises(KeyProblem, match=f"does not hold root key {former}"):
        open_keys(tmp_path)


def test_rotation_leaves_no_byte_of_what_it_replaced(tmp_path: Path) -> None:
    keys = open_keys(tmp_path)
    recorded(keys, 50)
    replaced = [row.existing().data for row in keys.database.wrapped()]
    rotate(tmp_path, keys.root, keys.root, unheeded)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [data for data in replaced if data in content or data[20:] in content] == []
    with pytest.raises(KeyProblem):
        keys.root.unwrap(replace(Wrapped("", replaced[0])), "")
