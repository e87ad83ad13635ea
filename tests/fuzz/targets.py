"""What `make fuzz` runs: each target takes any bytes and returns, or fails by an assertion.

A parser accepts or raises its documented error; what it accepts must hold together.
"""

import contextlib
from collections.abc import Callable

import msgspec

from server.core import av1, dependency, h264, red, rtcp, twcc, vp8, vp9
from server.core.frames import Codec, EncodedFrame, Gap, TrackName
from server.core.picture import octets_of_layers, picture_size
from server.core.rtp import HEADER_LENGTH, extension, is_rtcp, payload_of, payload_span
from server.media.errors import SdpError
from server.media.forwarding.descriptor import READERS, write
from server.media.negotiation import choose_formats
from server.media.receiving.arrivals import Arrivals
from server.media.receiving.carried import RedundantStream, RetransmissionStream
from server.media.receiving.clock import PeerClock
from server.media.receiving.depacketise import DEPACKETISERS
from server.media.receiving.up_track import UpTrack
from server.media.sdp.answer import AnswerSection, Candidate, Transport, write_answer
from server.media.sdp.offer import parse_offer
from server.media.sdp.sdpfrag import parse_fragment
from server.media.transport.framing import MAX_FRAME, Deframer, FrameTooLong
from server.media.transport.ice import MAX_STUN_LENGTH, CheckRefused, IceLite, parse_check
from server.signaling import tokens
from server.signaling.errors import Refusal
from server.signaling.socket import decode
from server.signaling.tokens import TokenError
from tests.media.streams import receive
from tests.media.streams import rtp as rtp_packet
from tests.media.test_ice import REMOTE, attribute, signed

CODECS = (Codec.VP8, Codec.VP9, Codec.H264, Codec.AV1)
KEY = bytes(tokens.KEY_BYTES)
ADDRESS = ("2001:db8::7", 54_321)
ICE = IceLite(REMOTE)
USERNAME = attribute(0x0006, f"{ICE.ufrag}:{REMOTE}".encode())
TRANSPORT = Transport("u" * 16, "p" * 32, "sha-256 AB:CD", (Candidate("udp", "192.0.2.1", 8080),))


def stun(data: bytes) -> None:
    """As it came, and as attributes of a check that knows the password."""
    check = parse_check(data)
    assert check is None or ICE.answer(check, ADDRESS) is None
    whole = signed(USERNAME + data + bytes(-len(data) % 4), ICE.pwd)
    check = parse_check(whole)
    answered = ICE.answer(check, ADDRESS) if check is not None else None
    if check is None or answered is None:
        return
    assert len(answered.response) <= len(whole) <= MAX_STUN_LENGTH
    assert isinstance(answered, CheckRefused) is bool(check.unknown)


def rtp(data: bytes) -> None:
    if len(data) >= 2:
        is_rtcp(data)
    with contextlib.suppress(ValueError):
        start, end = payload_span(data)
        assert HEADER_LENGTH <= start <= end <= len(data)
        assert payload_of(data) == data[start:end]
    for number in (1, 3, 15, 16):
        element = extension(data, number)
        assert element is None or len(element) < len(data) - HEADER_LENGTH
    arrivals = Arrivals(3)
    for now in (0.0, 0.1):  # where the number stood is looked for, then known
        arrivals.fresh.append((data, now))
        for each in arrivals.feedback(now, 1, 2):
            assert rtcp.parse(rtcp.transport_feedback(each)) == [each]


def rtcp_(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        for item in rtcp.parse(data):
            if isinstance(item, rtcp.Nack):
                # RFC 4585 6.2.1: 17 packets to each entry of four bytes.
                assert len(item.seqnos) <= 17 * len(data) // 4
                rtcp.parse(rtcp.nack(1, item.media_ssrc, item.seqnos))


def twcc_(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        feedback = twcc.parse(data)
        assert len(feedback.arrivals) <= twcc.MAX_PACKETS
        assert twcc.parse(twcc.write(feedback)) == feedback


def red_(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        *earlier, primary = red.split(data)
        assert red.join(primary, earlier) == data
        payload_type, start = red.own_block(data)
        assert (payload_type, data[start:]) == (primary.payload_type, primary.data)


def carried(data: bytes) -> None:
    """The first byte chooses the carrier; the rest are packets behind two bytes of length."""
    video = bool(data[:1] < b"\x80")
    name, codec = (TrackName.CAMERA, Codec.VP8) if video else (TrackName.MICROPHONE, Codec.OPUS)
    taken: list[EncodedFrame | Gap] = []
    record = taken.append
    up = UpTrack(name, codec, 96, 1, PeerClock(), record, record, lambda: None, [], repair=True)
    receive(up, rtp_packet(1, 0, b"\x10\x00"), 0.0)
    carrier = RetransmissionStream(up) if video else RedundantStream(up)
    with contextlib.suppress(FrameTooLong):
        for packet in Deframer().feed(data[1:]):
            with contextlib.suppress(ValueError):
                if len(packet) >= HEADER_LENGTH:
                    receive(carrier, packet, 0.0)
    up.close(1.0)
    assert len(taken) <= 2 + len(data)


def sdp(data: bytes) -> None:
    with contextlib.suppress(SdpError):
        offer = parse_offer(data.decode("utf-8", "replace"))
        codecs = (Codec.H264, Codec.VP8, Codec.OPUS)
        sections = [
            AnswerSection(
                each,
                tuple(choose_formats(each, codecs, every=True)),
                "recvonly",
                layers=each.layers(96),
            )
            for each in offer.sections
        ]
        answer = write_answer(1, TRANSPORT, sections)
        # Nothing of the offer makes a line of its own in our answer.
        lines = answer.removesuffix("\r\n").split("\r\n")
        assert all(line[:1].islower() and line[1:2] == "=" for line in lines)
        assert all(line.isprintable() for line in lines)
        assert sum(line.startswith("m=") for line in lines) == len(sections)


def sdpfrag(data: bytes) -> None:
    with contextlib.suppress(SdpError):
        remote = parse_fragment(data.decode("utf-8", "replace"))
        # RFC 8839 5.4.
        assert 4 <= len(remote.ufrag) <= 256
        assert 22 <= len(remote.pwd) <= 256
        assert (remote.ufrag + remote.pwd).isascii()


def depacketise(data: bytes) -> None:
    """The first byte chooses the codec; the rest are payloads behind two bytes of length."""
    codec = CODECS[data[0] % len(CODECS)] if data else Codec.VP8
    depacketiser = DEPACKETISERS[codec]
    try:
        payloads = Deframer().feed(data[1:]) or [b""]
        for payload in payloads:
            depacketiser.starts_keyframe(payload)
        frame = depacketiser.join(payloads).payload
    except ValueError:
        return
    assert 0 < len(frame) <= 5 * len(data)
    with contextlib.suppress(vp8.Vp8Error, vp9.Vp9Error, h264.H264Error, av1.Av1Error):
        _read_frame(codec, frame)


def _read_frame(codec: Codec, frame: bytes) -> None:
    """As the recorder reads what it is given."""
    picture_size(codec, frame)
    assert 0 <= sum(octets_of_layers(codec, frame)) <= len(frame)
    match codec:
        case Codec.VP8:
            vp8.parse_header(frame)
        case Codec.VP9:
            for each in vp9.split_superframe(frame):
                vp9.parse_header(each)
        case Codec.AV1:
            for obu in av1.obus(frame):
                if obu.type == av1.OBU_SEQUENCE_HEADER:
                    av1.parse_sequence_header(obu.payload)
        case Codec.H264:
            units = list(h264.nal_units(frame))
            assert h264.join_nal_units(units) == frame
            for unit in units:
                h264.parse_sps(unit)


def thinning(data: bytes) -> None:
    """The first byte chooses the codec; the rest is a payload that is numbered anew."""
    codec = CODECS[data[0] % len(CODECS)] if data else Codec.VP8
    found = READERS[codec](data[1:])
    if found is not None:
        written = write(data[1:], found, 0x1234, 0x56)
        assert len(written) == len(data) - 1
        again = READERS[codec](written)
        assert again is not None
        assert again._replace(picture_id=None, tl0=None) == found._replace(
            picture_id=None, tl0=None
        )


def dependency_(data: bytes) -> None:
    """Descriptors behind two bytes of length each: of one stream."""
    read = dependency.Dependencies()
    with contextlib.suppress(FrameTooLong):
        for seqno, descriptor in enumerate(Deframer().feed(data)):
            with contextlib.suppress(dependency.DependencyError):
                place = read.read(descriptor, seqno)
                assert place is None or place.temporal_id <= 7
                assert 1 <= read.spatial_layers <= 4


def message(data: bytes) -> None:
    """What a page says on its WebSocket."""
    with contextlib.suppress(Refusal):
        said = decode(data.decode("utf-8", "replace"))
        assert decode(msgspec.json.encode(said).decode()) == said


def token(data: bytes) -> None:
    """As it came, and as what a genuine signature covers."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(TokenError):
        tokens.parse(KEY, text, 0.0)
    signed = f"{tokens.VERSION}.{text}"
    with contextlib.suppress(TokenError):
        claims = tokens.parse(KEY, f"{signed}.{tokens._mac(KEY, signed)}", 0.0)
        assert tokens.parse(KEY, tokens.sign(KEY, claims), 0.0) == claims


def framing(data: bytes) -> None:
    """However the stream is cut, the same packets come out."""
    cut = data[0] if data else 0
    try:
        whole = Deframer().feed(data)
    except FrameTooLong:
        return
    deframer = Deframer()
    assert deframer.feed(data[:cut]) + deframer.feed(data[cut:]) == whole
    assert all(0 < len(packet) <= MAX_FRAME for packet in whole)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "stun": stun,
    "rtp": rtp,
    "rtcp": rtcp_,
    "twcc": twcc_,
    "red": red_,
    "carried": carried,
    "sdp": sdp,
    "sdpfrag": sdpfrag,
    "depacketise": depacketise,
    "framing": framing,
    "thinning": thinning,
    "dependency": dependency_,
    "message": message,
    "token": token,
}
