"""`kill -9` of a command at each of its durable steps: what it leaves is whole, and can go on."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from server.recorder.evidence import derivation
from server.recorder.evidence.verify import verify
from server.recorder.keys.key_ring import open_keys
from server.recorder.keys.root_key import FileRootKey
from server.recorder.recorder import open_recorder
from tests.commands.conftest import run
from tests.recorder.conftest import Desk
from tests.recorder.encoded import START_S


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "whole" / "data")
    for number in range(2):
        desk.seal(f"iv-{number}", START_S + 10 * number)
    return desk


def killed(desk: Desk, *command: str) -> list[Desk]:
    """What each kill left, then what is there where it ended by itself."""
    folder = desk.data_dir.parent
    tool = [sys.executable, "-m", "tests.recorder.killed_steps", str(folder), "--", *command]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count = int(done.stdout.split()[-1])
    assert count >= 4, "each step was counted"
    return [desk_at(folder.with_name(str(step))) for step in range(count + 1)]


def desk_at(folder: Path) -> Desk:
    """Without keys, which a start may have to put right first."""
    desk = Desk.__new__(Desk)
    desk.data_dir = folder / "data"
    return desk


def started(desk: Desk) -> Desk:
    """And stopped again."""

    async def start() -> None:
        async with open_recorder(desk.data_dir):
            pass

    asyncio.run(start())
    assert [path for path in desk.data_dir.rglob("*.tmp") if path.is_file()] == []
    return Desk(desk.data_dir)


def is_whole(desk: Desk) -> bool:
    key = desk.keys.public_key
    return all(
        verify(desk.path(f"iv-{number}"), key, desk.log).intact
        and desk.reader(f"iv-{number}").fragment(1)
        for number in range(2)
    )


def test_a_new_signing_key_is_there_after_a_start_or_the_former_is(desk: Desk) -> None:
    held = []
    for each in killed(desk, "keys", "rotate-signing"):
        after = started(each)
        held.append(len(after.keys.public_key.keys))
        assert is_whole(after)
    after.seal("iv-new", START_S + 100)
    assert verify(after.path("iv-new"), after.keys.public_key, after.log).intact
    assert held == sorted(held), "from one step on the change holds"
    assert set(held) == {1, 2}


def test_a_new_root_key_opens_everything_at_any_time_and_is_gone_on_with(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    root = (desk.data_dir / "keys" / "root.key").read_bytes()
    for each in killed(desk, "keys", "rotate"):
        assert is_whole(started(each))
        assert run(capsys, "keys", "rotate", "--data-dir", str(each.data_dir))[0] == 0
        keys = open_keys(each.data_dir / "keys")
        versions = {version for _, version in keys.database.wrapped_by()}
        assert isinstance(keys.root, FileRootKey)
        assert versions == {keys.root.version()}
        assert is_whole(Desk(each.data_dir))
        assert root.strip() not in (each.data_dir / "keys" / "root.key").read_bytes()


def test_an_export_is_there_whole_or_not_at_all_and_can_be_made_again(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    out = desk.data_dir.parent / "given" / "out.mp4"
    out.parent.mkdir()
    for each in killed(desk, "export", "iv-0", "-o", str(out)):
        after, there = started(each), each.data_dir.parent / "given" / "out.mp4"
        if there.exists():
            derivation.check(there, after.keys.public_key)
        again = ("export", "iv-0", "-o", str(there), "--overwrite")
        assert run(capsys, *again, "--data-dir", str(each.data_dir))[0] == 0
        derivation.check(there, after.keys.public_key)
        assert sorted(path.name for path in there.parent.iterdir()) == [
            "out.mp4",
            "out.mp4.vivavoce.json",
        ]
        assert is_whole(started(each))
