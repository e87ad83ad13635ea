"""Streams as they are served, by a verifier of others, and the tool that asks it.

What it is given came over HTTP and is what a player gets, to the byte.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import Codec
from server.recorder.replay.index import Side
from server.recorder.replay.streams import Streams
from tests.project import ROOT
from tests.recorder.c2pa_readers import stream_by_encypher
from tests.recorder.conftest import POLICY, Desk
from tests.recorder.encoded import START_S, in_order, interview, interviewer, screen
from tests.signaling.serving import Serving
from tests.signaling.test_replay import record
from tools.check_stream import parse_playlist

TOOL = ROOT / "tools" / "check_stream.py"


@dataclass
class Stream:
    """A playlist and what it names, as they were served."""

    playlist: str
    parts: dict[str, bytes]

    @property
    def runs(self) -> list[tuple[bytes, list[bytes]]]:
        """Each init, and its segments."""
        return [
            (self.parts[run.init], [self.parts[each.name] for each in run.segments])
            for run in parse_playlist(self.playlist)
        ]


def folder(serving: Serving, side: Side, interview_id: str | None = None) -> str:
    interview_id = interview_id or serving.one.interview_id
    return f"{serving.server.base_url}/hls/{serving.owner}/{interview_id}/{side}/"


async def fetched(http: ClientSession, folder: str, playlist: str) -> Stream:
    async with http.get(folder + playlist) as answer:
        assert answer.status == 200
        text = await answer.text()
    parts = {}
    for run in parse_playlist(text):
        for name in (run.init, *(each.name for each in run.segments)):
            async with http.get(folder + name) as answer:
                assert answer.status == 200
                parts[name] = await answer.read()
    return Stream(text, parts)


def found(init: bytes, segments: list[bytes], root: Path) -> set[str]:
    """The codes of what was found wrong; none: valid, and by whom it should be."""
    report = stream_by_encypher(init, segments, root.read_bytes())
    codes = {each["code"] for each in report["stream"]["validation_results"]["failure"]}
    assert report["integrity"] == ("invalid" if codes else "valid")
    if not codes:
        assert report["stream"]["trust"]["status"] == "valid_for_supplied_material"
    return codes


@pytest.fixture
async def root(serving: Serving, tmp_path: Path) -> Path:
    """As the command prints it for whoever is to trust it."""
    command = ("-m", "server.cli", "keys", "c2pa-root", "--data-dir", serving.data_dir)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    return await asyncio.to_thread(_written, tmp_path / "root.pem", printed)


@pytest.fixture
def other_root(tmp_path: Path) -> Path:
    return _written(
        tmp_path / "other.pem", Desk(tmp_path / "other").keys.claim_signer(START_S).anchor
    )


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# ---- the verifier alone -------------------------------------------------------------------


async def test_every_stream_of_an_interview_is_valid_as_it_is_served(
    serving: Serving, root: Path
) -> None:
    """With a gap, another coding after it, and what was not there all the time."""
    frames = in_order(
        interview(Codec.H264, 8),
        interview(Codec.VP9, 8, START_S + 30),
        screen(Codec.H264, 3, START_S + 2),
        interviewer(Codec.H264, 4, START_S + 31),
    )
    await record(serving, serving.one.interview_id, frames)
    for side, codings in ((Side.CANDIDATE, 2), (Side.SCREEN, 1), (Side.INTERVIEWER, 1)):
        for playlist in ("vod.m3u8", "event.m3u8"):
            stream = await fetched(serving.http, folder(serving, side), playlist)
            assert len(stream.runs) == codings
            for init, segments in stream.runs:
                assert found(init, segments, root) == set()


async def test_a_stream_that_grows_is_valid_at_each_moment(serving: Serving, root: Path) -> None:
    recording = serving.server.recorder.record(
        serving.one.interview_id, "One", POLICY, lambda _: None
    )
    counts: list[int] = []
    for start_s in (START_S, START_S + 6):
        for frame in interview(Codec.H264, 6, start_s):
            recording.on_frame(frame)
        stream = await grown(serving, beyond=sum(counts))
        ((init, segments),) = stream.runs
        assert "#EXT-X-ENDLIST" not in stream.playlist
        assert found(init, segments, root) == set()
        counts.append(len(segments))
    await recording.close()
    ((init, segments),) = (
        await fetched(serving.http, folder(serving, Side.CANDIDATE), "event.m3u8")
    ).runs
    assert found(init, segments, root) == set()
    assert 0 < counts[0] < counts[1] < len(segments)


async def grown(serving: Serving, beyond: int) -> Stream:
    """Once more segments than that are told of: what was recorded is on its way to the disk."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(told, serving) <= beyond:
            pass
    return await fetched(serving.http, folder(serving, Side.CANDIDATE), "event.m3u8")


def told(serving: Serving) -> int:
    try:
        reader = serving.server.recorder.reader(serving.one.interview_id)
    except KeyError:  # it has not begun
        return 0
    return Streams(reader).media_playlist(Side.CANDIDATE, event=True).count(".m4s")


def flipped(segment: bytes) -> bytes:
    return segment[:-100] + bytes([segment[-100] ^ 1]) + segment[-99:]


async def test_every_harm_to_a_served_stream_is_found(serving: Serving, root: Path) -> None:
    await record(serving, serving.one.interview_id, interview(seconds=30))
    await record(serving, serving.two.interview_id, interview(seconds=30))
    ((init, own),) = (await fetched(serving.http, folder(serving, Side.CANDIDATE), "vod.m3u8")).runs
    other_folder = folder(serving, Side.CANDIDATE, serving.two.interview_id)
    ((other_init, others),) = (await fetched(serving.http, other_folder, "vod.m3u8")).runs
    assert len(own) == len(others) > 4
    assert found(other_init, others, root) == found(init, own, root) == set()
    harms = {
        "flipped": [*own[:2], flipped(own[2]), *own[3:]],
        "the first left out": own[1:],
        "one left out": [*own[:2], *own[3:]],
        "two exchanged": [own[1], own[0], *own[2:]],
        "one again": [*own[:3], own[1], *own[3:]],
        "one again in the place of another": [*own[:3], own[1], *own[4:]],
        "another recording's": [*own[:2], others[2], *own[3:]],
        "all of another recording": others,
        "cut off within": [*own[:2], own[2][: own[2].rindex(b"moof") - 4], *own[3:]],
    }
    for harm, segments in harms.items():
        assert found(init, segments, root) == {"livevideo.segment.invalid"}, harm
    assert found(other_init, own, root) == {"livevideo.segment.invalid"}
    harmed = init.replace(b"Opus", b"Opuz")
    assert "livevideo.manifest.invalid" in found(harmed, own, root)


async def test_another_servers_root_does_not_vouch_for_it(
    serving: Serving, other_root: Path
) -> None:
    await record(serving, serving.one.interview_id)
    ((init, segments),) = (
        await fetched(serving.http, folder(serving, Side.CANDIDATE), "vod.m3u8")
    ).runs
    roots = await asyncio.to_thread(other_root.read_bytes)
    report = stream_by_encypher(init, segments, roots)
    assert report["integrity"] == "valid"
    assert report["stream"]["validation_state"] == "Valid"  # and not "Trusted"
    assert report["stream"]["trust"]["status"] != "valid_for_supplied_material"


# ---- the tool -----------------------------------------------------------------------------


async def checked(address: str, root: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, TOOL, address, "--trust", root),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_the_tool_proves_a_stream_of_many_portions(serving: Serving, root: Path) -> None:
    frames = interview(Codec.H264, 110) + interview(Codec.VP9, 4, START_S + 150)
    await record(serving, serving.one.interview_id, frames)
    address = folder(serving, Side.CANDIDATE)
    status, said = await checked(address + "event.m3u8", root)
    assert (status, said) == (0, "PROVED: 114 segments\n")
    status, said = await checked(address + "index.m3u8", root)
    assert (status, said) == (0, "PROVED: 114 segments\n")


@asynccontextmanager
async def served(stream: Stream) -> AsyncIterator[str]:
    """By a server of somebody else, who has harmed it."""

    async def part(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == "x.m3u8":
            return web.Response(text=stream.playlist)
        return web.Response(body=stream.parts[name])

    app = web.Application()
    app.router.add_get("/{name}", part)
    async with TestServer(app) as server:
        yield str(server.make_url("/x.m3u8"))


async def test_the_tool_names_each_fault_with_its_time(serving: Serving, root: Path) -> None:
    await record(serving, serving.one.interview_id, interview(seconds=60))
    stream = await fetched(serving.http, folder(serving, Side.CANDIDATE), "event.m3u8")
    names = [each.name for each in parse_playlist(stream.playlist)[0].segments]
    intact = dict(stream.parts)
    stream.parts[names[10]] = flipped(stream.parts[names[10]])
    stream.parts[names[55]] = stream.parts[names[54]]
    async with served(stream) as address:
        status, said = await checked(address, root)
    assert (status, said.splitlines()[-1]) == (1, "NOT PROVED: 4 faults in 60 segments")
    faults = [line.split(": ")[:2] for line in said.splitlines()[:-1]]
    discontinuity = "unexpected sequence discontinuity"
    assert faults == [
        [f"0:00:10.000 {names[10]}", "no emsg box carried valid signed segment information"],
        [f"0:00:11.000 {names[11]}", discontinuity],  # it counts on from the last proved one
        [f"0:00:55.000 {names[55]}", discontinuity],
        [f"0:00:56.000 {names[56]}", discontinuity],
    ]
    stream.parts = intact
    line = f"{names[51]}\n"
    stream.playlist = stream.playlist.replace("#EXTINF:1.000000,\n" + line, "")
    async with served(stream) as address:
        status, said = await checked(address, root)
    assert (status, said.count("\n")) == (1, 2)
    assert names[52] in said


async def test_the_tool_says_what_could_not_be_checked(
    serving: Serving, root: Path, other_root: Path
) -> None:
    await record(serving, serving.one.interview_id)
    address = folder(serving, Side.CANDIDATE) + "index.m3u8"
    for wrong in (address.replace("candidate", "nobody"), "x.m3u8", address + "/"):
        status, said = await checked(wrong, root)
        assert (status, said.startswith("It could not be checked")) == (2, True), said
    for no_roots in (root.with_name("none.pem"), TOOL):
        assert (await checked(address, no_roots))[0] == 2
    status, said = await checked(address, other_root)
    assert status == 1
    assert "nobody who is trusted vouches for its signer" in said


def test_a_playlist_is_read_as_players_do() -> None:
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
    text = (
        f'{head}#EXT-X-MAP:URI="a.mp4"\n#EXTINF:2.5,\n1.m4s\n#EXT-X-GAP\n#EXTINF:4,\ngap.m4s\n'
        '#EXT-X-DISCONTINUITY\n#EXT-X-MAP:BYTERANGE="1@0",URI="b.mp4"\n#EXTINF:1,\n2.m4s\n'
    )
    first, second = parse_playlist(text)
    assert (first.init, [(s.name, s.start_s) for s in first.segments]) == ("a.mp4", [("1.m4s", 0)])
    assert (second.init, [s.start_s for s in second.segments]) == ("b.mp4", [6.5])
    for wrong in ("", "x", head, f"{head}#EXTINF:1,\n1.m4s\n", f'{head}#EXT-X-MAP:URI="a"\n'):
        with pytest.raises(ValueError, match=r"playlist|init"):
            parse_playlist(wrong)


@given(
    st.lists(st.sampled_from(['#EXT-X-MAP:URI="a"', "#EXTINF:1,", "#EXT-X-GAP", "x"]) | st.text())
)
def test_any_text_is_a_playlist_or_none(lines: list[str]) -> None:
    try:
        runs = parse_playlist("#EXTM3U\n" + "\n".join(lines))
    except ValueError:
        return
    assert all(run.segments for run in runs)
