"""Janus's messages, made and read; then the real one, where it is installed."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.peers.janus import (
    JanusError,
    Reply,
    answer_offer,
    create_room,
    join_and_publish,
    join_to_watch,
    read_reply,
)
from loadtest.sdp import LocalSide, read_answer, write_offer

OURS = write_offer(LocalSide("ufrag", "p" * 24, "sha-256 AB:CD", 0, 0), ["vp8", "h264"], "recvonly")
#: What Janus 1.1.2 offers a subscriber, without the lines that nobody reads.
THEIRS = """v=0
o=- 1 1 IN IP4 198.18.0.1
s=VideoRoom 1
t=0 0
a=group:BUNDLE a v
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 198.18.0.1
a=sendonly
a=mid:a
a=rtcp-mux
a=ice-ufrag:jan
a=ice-pwd:januspassword
a=fingerprint:sha-256 01:02
a=setup:actpass
a=rtpmap:111 opus/48000/2
a=candidate:1 1 udp 2015363327 198.18.0.1 40000 typ host
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 198.18.0.1
a=sendonly
a=mid:v
a=rtcp-mux
a=ice-ufrag:jan
a=ice-pwd:januspassword
a=fingerprint:sha-256 01:02
a=setup:actpass
a=rtpmap:96 VP8/90000
a=candidate:1 1 udp 2015363327 198.18.0.1 40000 typ host
""".replace("\n", "\r\n")


def test_a_room_takes_one_publisher_and_is_recorded_where_that_is_asked_for() -> None:
    assert create_room(7, None)["record"] is False
    room = create_room(7, Path("/tmp/x"))
    assert (room["room"], room["publishers"], room["bitrate"]) == (7, 1, 0)
    assert (room["record"], room["rec_dir"]) == (True, "/tmp/x")


def test_publisher_and_subscriber_meet_in_the_room() -> None:
    assert join_and_publish(7)["room"] == join_to_watch(7)["room"] == 7
    assert join_to_watch(7)["streams"] == [{"feed": join_and_publish(7)["id"]}]


def test_an_acknowledgement_is_no_reply_yet() -> None:
    assert read_reply('{"janus": "ack", "transaction": "1"}') is None


def test_ids_and_descriptions_are_read() -> None:
    reply = read_reply('{"janus": "success", "transaction": "1", "data": {"id": 12}}')
    assert reply is not None
    assert reply.data is not None
    assert (reply.transaction, reply.data.id) == ("1", 12)
    event = '{"janus": "event", "sender": 1, "jsep": {"type": "answer", "sdp": "v=0"}}'
    reply = read_reply(event)
    assert reply is not None
    assert reply.jsep is not None
    assert reply.jsep.sdp == "v=0"


@pytest.mark.parametrize(
    "text",
    [
        '{"janus": "error", "error": {"code": 458, "reason": "No such session"}}',
        '{"janus": "event", "plugindata": {"plugin": "x", "data": '
        '{"videoroom": "event", "error_code": 458, "error": "No such session"}}}',
    ],
)
def test_errors_of_janus_and_of_its_plugin_are_raised_in_its_words(text: str) -> None:
    with pytest.raises(JanusError, match=r"No such session \(458\)") as caught:
        read_reply(text)
    assert caught.value.code == 458


@given(st.text() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(JanusError):
        read_reply(text)


@given(
    st.dictionaries(
        st.sampled_from(["janus", "data", "plugindata", "jsep", "error", "transaction"]),
        st.text() | st.integers() | st.dictionaries(st.text(), st.text()),
    ).map(json.dumps)
)
def test_a_message_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(JanusError):
        assert isinstance(read_reply(text), Reply | None)


def test_the_answer_to_an_offer_of_janus_carries_our_transport() -> None:
    answer = answer_offer(OURS, THEIRS).split("\r\n")
    assert answer.count("a=ice-ufrag:ufrag") == answer.count(f"a=ice-pwd:{'p' * 24}") == 2
    assert answer.count("a=fingerprint:sha-256 AB:CD") == 2


def test_the_offer_of_janus_is_read_as_an_answer_would_be() -> None:
    remote = read_answer(THEIRS)
    assert (remote.ufrag, remote.addresses) == ("jan", [("198.18.0.1", 40000)])
    assert remote.dtls_server  # as it leaves the choice to us


def test_the_answer_takes_its_sections_from_the_offer() -> None:
    answer = answer_offer(OURS, THEIRS).split("\r\n")
    assert "a=group:BUNDLE a v" in answer
    assert [line for line in answer if line.startswith("m=")] == [
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
    ]
    assert answer.count("a=setup:active") == answer.count("a=recvonly") == 2
    assert "a=rtpmap:111 opus/48000/2" in answer
    assert "a=rtcp-fb:96 nack pli" in answer


def test_repairs_in_a_stream_of_their_own_are_taken_where_they_are_offered() -> None:
    with_repairs = THEIRS.replace(
        "m=video 9 UDP/TLS/RTP/SAVPF 96", "m=video 9 UDP/TLS/RTP/SAVPF 96 97"
    ).replace("96 VP8/90000", "96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96")
    answer = answer_offer(OURS, with_repairs).split("\r\n")
    assert "m=video 9 UDP/TLS/RTP/SAVPF 96 97" in answer
    assert answer.count("a=rtpmap:97 rtx/90000") == answer.count("a=fmtp:97 apt=96") == 1
    assert not [line for line in answer_offer(OURS, THEIRS).split("\r\n") if "97" in line]


def test_a_payload_type_that_observers_do_not_know_is_refused() -> None:
    with pytest.raises(JanusError, match="VP8 as payload type 100"):
        answer_offer(OURS, THEIRS.replace("RTP/SAVPF 96", "RTP/SAVPF 100").replace(":96", ":100"))


@pytest.mark.skipif(shutil.which("janus") is None, reason="janus is not installed")
@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace takes root")
def test_a_publisher_and_an_observer_meet_in_the_real_janus() -> None:
    """In a process of its own, which alone moves into a network namespace."""
    command = [sys.executable, "-m", "tests.loadtest.peers.one_trial", "Janus"]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    trial = json.loads(done.stdout)
    assert trial["failed"] is None
    assert trial["packets_received"] > 100
    assert 0 < trial["latency_p99_s"] < 0.5
