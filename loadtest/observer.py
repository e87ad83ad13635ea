"""A simulated observer: receives by WHEP, asks for repairs, measures, never decodes."""

import asyncio
import random
import time
from dataclasses import dataclass

from loadtest import sdp, whip
from loadtest.arrivals import FEEDBACK_INTERVAL_S, Arrivals
from loadtest.histogram import Histogram, merged
from loadtest.media import VIDEO_CODECS, TrackName
from loadtest.network import Network
from loadtest.packets import starts_frame, starts_keyframe
from loadtest.peer import (
    AUDIO_CLOCK_HZ,
    REPORT_INTERVAL_S,
    VIDEO_CLOCK_HZ,
    Crowd,
    Signalling,
    negotiate,
)
from loadtest.port import Emulation
from loadtest.receiver import TrackReceiver
from loadtest.transport import ClientTransport
from loadtest.truth import LipSync
from loadtest.watching import Screen
from server.core import rtcp, rtp

NACK_CHECK_INTERVAL_S = 0.02
#: How often a keyframe is asked for until one has come.
KEYFRAME_REQUEST_INTERVAL_S = 0.5
#: Of a picture that cannot be shown on, as libwebrtc has it.
MAX_WAIT_FOR_FRAME_S = 3.0


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str  #: "opus" or one of VIDEO_CODECS
    clock_rate: int


_KINDS = {
    payload_type: _Kind(name, AUDIO_CLOCK_HZ if name == "opus" else VIDEO_CLOCK_HZ)
    for name, payload_type in sdp.PAYLOAD_TYPES.items()
}
#: What the payload types of repairs repair.
_REPAIRED = {rtx: sdp.PAYLOAD_TYPES[codec] for codec, rtx in sdp.RTX_PAYLOAD_TYPES.items()}


@dataclass(slots=True)
class _Picture:
    """What can be shown of one stream: nothing before its first keyframe."""

    keyframe_seen: bool = False
    shown: bool = False
    requested_at: float = float("-inf")


class Observer:
    """`await join()`; it measures until `await leave()` or `lost` is set."""

    def __init__(
        self,
        crowd: Crowd,
        where: str | Signalling,
        sources: set[int],
        network: Network | None = None,
        screen_source: int | None = None,
    ) -> None:
        """`where`: a WHEP URL, or another way to the server; `sources`: the SSRCs by which the
        observed candidate stamps its frames, `screen_source` that of its shared screen, for
        which a second video section is offered; `network`: the one before the observer.
        """
        self.lost = asyncio.Event()
        self.tracks: dict[int, TrackReceiver] = {}  #: by SSRC
        self.lip_sync = LipSync()
        self.first_picture_s: float | None = None  #: from the call of `join`
        self._crowd, self._sources, self._screen_source = crowd, sources, screen_source
        self._signalling = whip.Whip(crowd.http, where) if isinstance(where, str) else where
        self._ssrc = random.getrandbits(32)
        self._transport = ClientTransport(
            crowd.certificate,
            self._receive_rtp,
            self._receive_rtcp,
            self._lose,
            Emulation(network, crowd.pacer) if network is not None else None,
            crowd.inbox,
        )
        self._watching = False
        self._checking_repairs = False
        self._pictures: dict[int, _Picture] = {}  # by SSRC
        self._repairs: dict[int, int] = {}  # SSRC of repairs -> of what they repair
        self._arrivals: Arrivals | None = None

    async def join(self) -> None:
        """Raises what `negotiate` does."""
        self._called_at = time.time()
        self._watching = True
        try:
            remote = await negotiate(self._transport, self._crowd, self._signalling, self._offer)
        except BaseException:
            await self._transport.close()
            raise
        now = asyncio.get_running_loop().time()
        self._crowd.pacer.at(now, self._send_reports)
        self._repairs = remote.repairs
        if remote.counts is not None:
            self._arrivals = Arrivals(remote.counts)
            self._crowd.pacer.at(now + FEEDBACK_INTERVAL_S, self._send_feedback)

    async def leave(self) -> None:
        """Ends the session at the server; idempotent."""
        self._watching = False
        await self._transport.close()
        await self._signalling.end()

    def vanish(self) -> None:
        """Gone without a word, as from a dead network."""
        self._watching = False
        self._transport.vanish()

    def first_frame(self, name: TrackName) -> int | None:
        """The number of the first whole frame that came."""
        firsts = [
            each.frames.first
            for each in self.tracks.values()
            if each.name == name and each.frames.first is not None
        ]
        return min(firsts, default=None)

    @property
    def datagrams_refused(self) -> int:
        return self._transport.datagrams_refused

    def latency_s(self) -> Histogram:
        """Of every stamped packet of all tracks, from its sending to its arrival here."""
        return merged(each.latency_s for each in self.tracks.values())

    def end_viewing(self, now: float) -> None:
        """Nobody looks from `now` (Unix seconds) on."""
        for each in self.tracks.values():
            each.viewing.end(now)
            if each.watched is not None:
                each.watched.freezes.end(now)
        self.lip_sync.finish()

    def _offer(self, fingerprint: str) -> str:
        transport = self._transport
        screen_ssrc = None if self._screen_source is None else 0
        local = sdp.LocalSide(transport.ufrag, transport.password, fingerprint, 0, 0, screen_ssrc)
        return sdp.write_offer(local, list(VIDEO_CODECS), "recvonly")

    def _lose(self) -> None:
        self._watching = False
        self.lost.set()

    # ---- receiving ----------------------------------------------------------------------

    def _receive_rtp(self, packet: bytes, now: float) -> None:
        if self._arrivals is not None:
            self._arrivals.add(packet, now)
        if packet[1] & 0x7F in _REPAIRED:
            self._receive_repair(packet, now)
        else:
            self._take(packet, now)

    def _take(self, packet: bytes, now: float) -> None:
        header = rtp.unpack_header(packet)
        kind = _KINDS.get(header[1] & 0x7F)
        try:
            begin, end = rtp.payload_span(packet)
        except ValueError:
            return
        if kind is None or begin == end:
            return
        track = self.tracks.get(header[4])
        if track is None:
            track = TrackReceiver(
                header[4],
                kind.clock_rate,
                self._sources,
                self._screen_source,
                lip_sync=self.lip_sync,
                watched=Screen() if kind.name == "vp8" else None,
            )
            self.tracks[header[4]] = track
        payload = packet[begin:end]
        whole = track.receive(header, payload, starts_frame(kind.name, payload), now)
        if kind.name != "opus":
            self._watch_picture(kind, track, payload, whole, now)
        if track.repairing and not self._checking_repairs:
            self._checking_repairs = True
            self._check_repairs_later(asyncio.get_running_loop().time())

    def _receive_repair(self, packet: bytes, now: float) -> None:
        """What was lost, as it was (RFC 4588 4): its number stands before its payload."""
        _, second, _, timestamp, ssrc = rtp.unpack_header(packet)
        repaired = self._repairs.get(ssrc)
        try:
            begin, end = rtp.payload_span(packet)
        except ValueError:
            return
        if repaired is None or end < begin + 2:
            return  # of padding alone: the server tries whether more comes through
        payload_type = _REPAIRED[second & 0x7F]
        seqno = int.from_bytes(packet[begin : begin + 2], "big")
        header = rtp.pack_header(0x80, second & 0x80 | payload_type, seqno, timestamp, repaired)
        self._take(header + packet[begin + 2 : end], now)

    def _watch_picture(
        self, kind: _Kind, track: TrackReceiver, payload: bytes, whole: bool, now: float
    ) -> None:
        """Until a keyframe has come, nothing can be shown: asks for one; so after a long stall."""
        picture = self._pictures.setdefault(track.ssrc, _Picture())
        if picture.shown:
            self._watch_stall(track, picture, now)
            return
        if not picture.keyframe_seen and starts_keyframe(kind.name, payload):
            picture.keyframe_seen, picture.requested_at = True, now
        watched = track.watched
        if picture.keyframe_seen and whole and (watched is None or watched.pictures):
            picture.shown = True
            if self.first_picture_s is None and track.name == "camera":
                self.first_picture_s = now - self._called_at
        elif (
            # One that began to come may never be whole.
            (not picture.keyframe_seen or watched is not None)
            and now - picture.requested_at >= KEYFRAME_REQUEST_INTERVAL_S
        ):
            self._request_keyframe(track, picture, now)

    def _watch_stall(self, track: TrackReceiver, picture: _Picture, now: float) -> None:
        shown_s = track.watched.freezes.shown_s if track.watched is not None else None
        since_s = max(shown_s, picture.requested_at) if shown_s is not None else now
        if now - since_s >= MAX_WAIT_FOR_FRAME_S:
            self._request_keyframe(track, picture, now)

    def _request_keyframe(self, track: TrackReceiver, picture: _Picture, now: float) -> None:
        picture.requested_at = now
        self._transport.send_rtcp(
            self._report_of(track) + rtcp.picture_loss_indication(self._ssrc, track.ssrc)
        )

    def _receive_rtcp(self, packet: bytes, arrived_s: float) -> None:
        try:
            items = rtcp.parse(packet)
        except ValueError:
            return
        for item in items:
            if isinstance(item, rtcp.SenderReport) and item.ssrc in self.tracks:
                self.tracks[item.ssrc].sender_report(item, arrived_s)

    # ---- feedback -----------------------------------------------------------------------

    def _report_of(self, track: TrackReceiver) -> bytes:
        # RFC 3550 6.1: a compound packet begins with a report; as browsers have it, one of the
        # stream that is meant. Janus finds the stream by that alone.
        blocks = (track.report_block(time.time()),)
        return rtcp.receiver_report(rtcp.ReceiverReport(self._ssrc, blocks))

    def _check_repairs_later(self, now: float) -> None:
        self._crowd.pacer.at(now + NACK_CHECK_INTERVAL_S, self._request_repairs)

    def _request_repairs(self, due: float, now: float) -> None:
        if not self._watching:
            return
        for track in self.tracks.values():
            nack = track.nack(self._ssrc, time.time())
            if nack is not None:
                self._transport.send_rtcp(self._report_of(track) + nack)
        self._checking_repairs = any(track.repairing for track in self.tracks.values())
        if self._checking_repairs:
            self._check_repairs_later(now)

    def _send_feedback(self, due: float, now: float) -> None:
        if not self._watching or self._arrivals is None:
            return
        ssrc = next(iter(self.tracks), 0)
        feedback = self._arrivals.feedback(self._ssrc, ssrc)
        if feedback is not None:
            self._transport.send_rtcp(feedback)
        self._crowd.pacer.at(due + FEEDBACK_INTERVAL_S, self._send_feedback)

    def _send_reports(self, due: float, now: float) -> None:
        if not self._watching:
            return
        unix_s = time.time()
        blocks = tuple(track.report_block(unix_s) for track in self.tracks.values())
        report = rtcp.receiver_report(rtcp.ReceiverReport(self._ssrc, blocks[:31]))
        self._transport.send_rtcp(report + rtcp.source_description(self._ssrc, "observer"))
        self._crowd.pacer.at(due + REPORT_INTERVAL_S, self._send_reports)
