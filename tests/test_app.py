"""The whole server with a real peer, and what it says when it can't start."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aioice.ice
import pytest
from aiohttp import ClientSession
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from server.app import open_server
from server.config import CertificateFiles, Config, ConfigError
from server.core.interviews import InterviewState, Role
from server.data_dir import SERVER_FILE, announced_url, metrics_token
from server.media.transport.framing import frame
from server.recorder.keys.key_ring import open_keys
from server.signaling import hub as hub_module
from server.store import Store
from tests.signaling.serving import Serving, open_serving, receive

SDP = {"Content-Type": "application/sdp"}


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda *_, **__: ["127.0.0.1"])


@asynccontextmanager
async def speaking(serving: Serving) -> AsyncIterator[str]:
    """A candidate with a microphone, joined by WHIP; gives the session's URL."""
    browser = RTCPeerConnection()
    try:
        browser.addTrack(AudioStreamTrack())
        await browser.setLocalDescription(await browser.createOffer())
        url = f"/whip/{serving.token(Role.CANDIDATE)}"
        offer = browser.localDescription.sdp
        async with serving.http.post(url, data=offer, headers=SDP) as answer:
            assert answer.status == 201
            location = answer.headers["Location"]
            remote = RTCSessionDescription(await answer.text(), "answer")
        await browser.setRemoteDescription(remote)
        yield location
    finally:
        await browser.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the parts of a server tell nobody
            await asyncio.sleep(0.02)


async def duration_s(serving: Serving) -> float:
    _, listed = await serving.call("GET", "/api/recordings", serving.owner)
    return max((float(each["duration_s"]) for each in listed), default=0.0)


async def test_what_a_candidate_says_is_watched_live_and_recorded(tmp_path: Path) -> None:
    async with open_serving(tmp_path) as serving:
        async with (
            serving.socket(serving.token(Role.OBSERVER)) as observer,
            speaking(serving) as session,
        ):
            while (await receive(observer, "state"))["state"] != "live":
                pass
            assert (await receive(observer, "recording"))["active"] is True
            state = await receive(observer, "state")  # once its media has arrived
            assert state["started_s"] is not None
            assert (await serving.call("DELETE", session))[0] == 200
            assert (await receive(observer, "state"))["state"] == "ended"
        interview = serving.one.interview_id
        path = f"/api/recordings/{interview}"
        _, index = await serving.call("GET", path, serving.token(Role.RECRUITER))
        assert (index["state"], index["tracks"]) == ("finished", ["microphone"])
        assert [each["event"] for each in index["events"]] == ["joined", "left"]
        assert await serving.call("GET", f"{path}/verify", serving.owner) == (
            200,
            {"intact": True, "faults": []},
        )
        events = await serving.server.db.run(Store.events, interview)
        assert [event.name for event in events] == ["joined", "left"]


async def test_stopping_the_server_seals_and_the_next_one_continues(tmp_path: Path) -> None:
    async with open_serving(tmp_path) as serving:
        first = serving.one
        async with speaking(serving) as session:
            await until(lambda: serving.server.hub.live)
            (live,) = serving.server.hub.live
            await until(lambda: live.started_s)
            await asyncio.sleep(1)  # a second of sound
            assert (await serving.call("GET", session))[0] == 204
            await serving.server.hub.shut_down()
        (summary,) = await asyncio.to_thread(serving.server.recorder.list)
        assert summary.state == "finished"
    async with open_serving(tmp_path) as serving:
        row = await serving.server.db.run(Store.interview, first.interview_id)
        assert row is not None
        assert row.state is InterviewState.INTERRUPTED
        before = await duration_s(serving)
        assert before > 0
        serving.one = first  # the same links
        assert (await serving.call("DELETE", session))[0] == 404  # so the client posts anew
        async with speaking(serving) as session:
            await until(lambda: serving.server.hub.live)
            (live,) = serving.server.hub.live
            await until(lambda: live.state is InterviewState.LIVE)
            await asyncio.sleep(1)
            await serving.call("DELETE", session)
        assert await duration_s(serving) > before
        _, listed = await serving.call("GET", "/api/recordings", serving.owner)
        assert len(listed) == 1


async def test_another_process_revokes_and_the_socket_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "REVOCATION_POLL_S", 0.05)
    async with open_serving(tmp_path) as serving:
        link = await serving.link(Role.OBSERVER)
        async with serving.socket(serving.token(Role.OBSERVER)) as observer:
            await receive(observer, "welcome")

            def other_process() -> None:
                with Store(tmp_path / "data" / "vivavoce.sqlite") as store:
                    store.revoke(link.id, 1.0)

            await asyncio.to_thread(other_process)
            error = await receive(observer, "error")
            assert (error["id"], error["fatal"]) == ("token-revoked", True)


async def test_a_revoked_candidate_is_cut_off_in_mid_speech(tmp_path: Path) -> None:
    async with open_serving(tmp_path) as serving, speaking(serving):
        await until(lambda: serving.server.hub.live)
        (live,) = serving.server.hub.live
        await until(lambda: live.started_s)
        link = await serving.link(Role.CANDIDATE)
        path = f"/api/interviews/{serving.one.interview_id}/links/{link.id}"
        assert (await serving.call("DELETE", path, serving.owner))[0] == 204
        assert live.state is InterviewState.ENDED
        _, listed = await serving.call("GET", "/api/recordings", serving.owner)
        assert listed[0]["state"] == "finished"


async def test_the_server_says_where_it_is_while_it_runs(tmp_path: Path) -> None:
    async with open_serving(tmp_path) as serving:
        assert await asyncio.to_thread(announced_url, serving.data_dir) == serving.server.base_url
    assert announced_url(tmp_path / "data") is None


async def test_another_servers_announcement_stays_when_this_one_ends(tmp_path: Path) -> None:
    said = '{"url": "https://192.0.2.7", "pid": 1}'
    async with open_serving(tmp_path) as serving:
        await asyncio.to_thread((serving.data_dir / SERVER_FILE).write_text, said)
    assert (tmp_path / "data" / SERVER_FILE).read_text() == said


async def test_the_owners_link_outlives_a_restart(tmp_path: Path) -> None:
    async with open_serving(tmp_path) as serving:
        owner = serving.owner
    async with open_serving(tmp_path) as serving:
        assert serving.owner == owner
        assert (await serving.call("GET", "/api/interviews", owner))[0] == 200


async def refusal(config: Config) -> str:
    with pytest.raises(ConfigError) as caught:
        async with open_server(config):
            pass
    return str(caught.value)


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = await refusal(Config(tmp_path, port=port, workers=0))
    assert f"Port {port} is in use" in message
    assert "--port" in message


async def test_a_udp_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        message = await refusal(Config(tmp_path, port=0, udp_port=port, workers=0))
    assert f"Media port {port} is in use" in message
    assert "--udp-port" in message


async def test_https_and_media_share_the_port_and_an_unfinished_handshake_holds_up_nothing(
    tmp_path: Path,
) -> None:
    config = Config(tmp_path, port=0, workers=0, tls=True)
    async with asyncio.timeout(20), open_server(config) as server:
        assert server.certificate is not None
        trust = ssl.create_default_context(cafile=server.certificate)
        host, port = "127.0.0.1", urlsplit(server.base_url).port
        _, half_open = await asyncio.open_connection(host, port)
        half_open.write(b"\x16\x03\x01")
        media, stranger = await asyncio.open_connection(host, port)
        stranger.write(frame(b"\x00\x01" + bytes(30)))
        assert await media.read() == b"", "closed unanswered by the media port"
        async with ClientSession(server.base_url) as http:
            for _ in range(2):
                async with http.get("/readyz", ssl=trust) as answer:
                    assert answer.status == 200
            token = {"Authorization": f"Bearer {await asyncio.to_thread(metrics_token, tmp_path)}"}
            async with http.get("/metrics", ssl=trust, headers=token) as answer:
                assert "vivavoce_tcp_refused_total 1.0" in await answer.text()
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 5
    for writer in (half_open, stranger):
        writer.close()


async def test_a_data_directory_in_use_is_named(tmp_path: Path) -> None:
    async with open_serving(tmp_path) as serving:
        message = await refusal(Config(serving.data_dir, port=0, workers=0))
        assert "Another server is using" in message
        assert await asyncio.to_thread(announced_url, serving.data_dir) == serving.server.base_url


async def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "log").touch()  # `serve > data/log`
    message = await refusal(Config(tmp_path, port=0, workers=0))
    assert f"can't be opened: [Errno 17] File exists: '{tmp_path / 'log'}'" in message


async def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    message = await refusal(Config(tmp_path, host="192.0.2.1", port=0, workers=0))
    assert "no address of this machine" in message


async def test_a_root_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    message = await refusal(Config(tmp_path, port=0, workers=0, root_key="env:NO_SUCH_KEY"))
    assert "NO_SUCH_KEY is not set" in message


async def test_another_root_key_says_which_wraps_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record() -> None:
        open_keys(tmp_path / "keys").create_recording_key("iv", bytes(16))

    await asyncio.to_thread(record)
    monkeypatch.setenv("SOME_KEY", "0f" * 32)
    message = await refusal(Config(tmp_path, port=0, workers=0, root_key="env:SOME_KEY"))
    assert "--root-key file " in message
    assert "vivavoce keys rotate --root-key env:SOME_KEY --from file" in message


async def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    def write() -> CertificateFiles:
        (tmp_path / "c.pem").write_text("nonsense")
        return CertificateFiles(tmp_path / "c.pem", tmp_path / "c.pem")

    files = await asyncio.to_thread(write)
    message = await refusal(Config(tmp_path, port=0, workers=0, tls=True, tls_files=files))
    assert "no usable pair" in message


async def test_a_certificate_that_cannot_sign_for_c2pa_is_named(tmp_path: Path) -> None:
    def write() -> CertificateFiles:
        (tmp_path / "c.pem").write_text("nonsense")
        return CertificateFiles(tmp_path / "c.pem", tmp_path / "c.pem")

    files = await asyncio.to_thread(write)
    message = await refusal(Config(tmp_path, port=0, workers=0, c2pa_files=files))
    assert "can't sign for C2PA: " in message
    assert "c.pem holds no certificates in PEM" in message
