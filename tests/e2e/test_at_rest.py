"""What lies on disk: nothing in the clear, nothing that can be altered unnoticed."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Page

from server.recorder.evidence.verify import verify
from server.recorder.format.server_key import ServerKey
from server.recorder.keys.key_ring import load_public_key
from server.recorder.writing.writer import SEGMENT_US
from tests.e2e.chromium import ChromiumLauncher
from tests.e2e.pages import join, leave, on_the_disk, save_receipt
from tests.e2e.server_process import ServerError, ServerProcess

#: Box types, codec names and start codes that media in the clear cannot do without.
MARKERS = (
    b"moof",
    b"mdat",
    b"ftyp",
    b"trun",
    b"avcC",
    b"avc1",
    b"vp08",
    b"vp09",
    b"av01",
    b"Opus",
    b"\x1aE\xdf\xa3",
)


@pytest.mark.timeout(180)
async def test_no_media_in_the_clear_and_every_change_is_named(
    server: ServerProcess, chromium: ChromiumLauncher, tmp_path: Path
) -> None:
    invited = await server.invite("Somebody's name")
    candidate = await (await chromium.launch()).new_page()
    await join(candidate, invited["candidate_url"])
    await on_the_disk(server, invited, duration_s=SEGMENT_US / 1e6 + 2)
    _nothing_in_the_clear(server.data_dir)
    await leave(candidate)
    await _receipts(server, candidate, tmp_path)
    _nothing_in_the_clear(server.data_dir)

    recording = server.recording(invited)
    await server.command("verify", str(recording))
    sizes = _sizes(recording)
    segments = [name for name, size in sizes.items() if size > 4096]
    assert len(segments) >= 2
    chance = random.Random(2)
    key = await asyncio.to_thread(load_public_key, server.data_dir / "keys" / "signing.pub")
    for name in sizes:
        for _ in range(20):
            await asyncio.to_thread(_flip_is_found, recording, name, chance, tmp_path, key)
    await _damage_is_found(server, recording, tmp_path, lambda copy: (copy / segments[0]).unlink())
    await _damage_is_found(
        server,
        recording,
        tmp_path,
        lambda copy: _swap(copy / segments[0], copy / segments[1]),
    )
    await _damage_is_found(server, recording, tmp_path, lambda copy: _truncate(copy / segments[1]))


async def _receipts(server: ServerProcess, candidate: Page, folder: Path) -> None:
    """Both pages of the candidate's link offer it, and it holds against server and recording."""
    await save_receipt(candidate, folder / "left.json")
    await candidate.locator('section[data-stage="over"] .to-viewings').click()
    await candidate.locator('section[data-stage="viewings"]').wait_for()
    await save_receipt(candidate, folder / "later.json")
    for name in ("left.json", "later.json"):
        said = await server.command("verify", str(folder / name))
        assert "of camera, microphone" in said
        assert "is the one that was sealed" in said


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def _nothing_in_the_clear(data_dir: Path) -> None:
    searched = 0
    for path in data_dir.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            searched += len(content)
            # Four random bytes hit one of nine markers by chance once in 480 MB of ciphertext.
            assert [marker for marker in MARKERS if marker in content] == [], path.name
    assert searched > 100_000, "there was media to find"


def _flip_is_found(
    recording: Path, name: str, chance: random.Random, tmp_path: Path, key: ServerKey
) -> None:
    copy = _copy(recording, tmp_path)
    content = bytearray((copy / name).read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    (copy / name).write_bytes(content)
    faults = [str(fault) for fault in verify(copy, key).faults]
    assert any(name in fault for fault in faults), faults


def _copy(recording: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    return Path(shutil.copytree(recording, copy))


async def _damage_is_found(
    server: ServerProcess, recording: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> str:
    copy = await asyncio.to_thread(_copy, recording, tmp_path)
    damage(copy)
    with pytest.raises(ServerError) as caught:
        await server.command("verify", str(copy))
    return str(caught.value)


def _swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
