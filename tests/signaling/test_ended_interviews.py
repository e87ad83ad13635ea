"""What an interview leaves behind in memory: nothing, without the garbage collector's help."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtest.interview import Interview
from loadtest.invites import Invite
from loadtest.packets import packetise
from loadtest.peer import open_crowd
from server.core.interviews import Role
from server.live_analysis.feed import Feed
from server.media.forwarding.down_track import DownTrack
from server.media.forwarding.egress import Egress
from server.media.forwarding.estimate import Estimate
from server.media.forwarding.layer import Layer
from server.media.forwarding.selection import Selection
from server.media.forwarding.track import Track
from server.media.observer import Observer
from server.media.peer import LOOK_INTERVAL_S
from server.media.publisher import Publisher
from server.media.receiving.up_track import UpTrack
from server.media.server import Source
from server.media.transport.dtls import DtlsRole, DtlsSession
from server.recorder.writing.recording import Recording
from server.recorder.writing.writer import RecordingWriter
from server.signaling.interview import LiveInterview
from server.signaling.outbox import Outbox
from server.signaling.participant import Participant
from tests.loadtest.conftest import short_clip
from tests.signaling.serving import open_serving

PARTS = (
    LiveInterview,
    Participant,
    Outbox,
    Source,
    Publisher,
    Observer,
    UpTrack,
    Track,
    Selection,
    Layer,
    DownTrack,
    Egress,
    Estimate,
    DtlsSession,
    Recording,
    RecordingWriter,
    Feed,
)


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_an_ended_interview_is_freed_at_once(tmp_path: Path, no_collection: None) -> None:
    clip = packetise(short_clip("vp8"))
    before = {id(each) for each in _parts()}  # a test that failed keeps what it had
    async with open_serving(tmp_path, workers=1) as serving, open_crowd() as crowd:
        invite = Invite(serving.token(Role.CANDIDATE), serving.token(Role.OBSERVER))
        for _ in range(2):
            interview = Interview(crowd, serving.server.base_url, invite, clip)
            await interview.join()
            interview.candidate = interview.candidate.vanish()
            await interview.candidate.join()
            await _until(lambda: _alive(before) == {*PARTS} and _publishers(before) == 1)
            await interview.leave()
            await _until(lambda: not _alive(before))


def _parts() -> list[object]:
    return [e for e in gc.get_objects() if type(e) in PARTS and not _is_client(e)]


def _alive(before: set[int]) -> set[type]:
    return {type(each) for each in _parts() if id(each) not in before}


def _publishers(before: set[int]) -> int:
    """Two until the newer one, when it is connected, has taken the place of the older."""
    return sum(type(each) is Publisher and id(each) not in before for each in _parts())


def _is_client(part: object) -> bool:
    """The far end's, which is in this process, too."""
    return isinstance(part, DtlsSession) and part._dtls._role == DtlsRole.CLIENT


async def _until(condition: Callable[[], bool]) -> None:
    """As the recorder's thread and the media tick go their rounds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (threads and processes of theirs are waited for)
            await asyncio.sleep(LOOK_INTERVAL_S)
