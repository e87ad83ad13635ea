"""A simulated candidate: publishes a clip by WHIP, as long as it is told to."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from loadtest import sdp, whip
from loadtest.adaptation import Adaptation
from loadtest.inbox import Inbox
from loadtest.media import AUDIO_PACKETS_PER_S, CAMERA, FPS, LOWER, SCREEN, TrackName
from loadtest.network import Network
from loadtest.pacer import Pacer, drive
from loadtest.packets import DESCRIPTORS, Frame, PacketisedClip, no_descriptor
from loadtest.port import Emulation
from loadtest.sender import Playback, Repairs, Sending, TrackSender
from loadtest.transport import ClientTransport
from server.core import rtcp
from server.core.twcc import TransportFeedback
from server.media.transport.dtls import Certificate

VIDEO_CLOCK_HZ = 90_000
AUDIO_CLOCK_HZ = 48_000
#: Larger frames leave in up to BURSTS bursts this far apart, as a browser's pacer has it, so
#: that keyframes don't overrun socket buffers; the last leaves before the next frame is due.
BURST_PACKETS = 8
BURSTS = 6
BURST_INTERVAL_S = 0.004
REPORT_INTERVAL_S = 1.0
#: Of a packet of sound: IPv4, UDP, RTP with its extensions, and SRTP's tag.
HEADERS_SIZE = 20 + 8 + 24 + 16
#: The layers of a simulcast, the largest picture first.
RIDS = ("h", "m", "l")


@dataclass(frozen=True, slots=True)
class Crowd:
    """What all peers of a process share."""

    http: aiohttp.ClientSession
    pacer: Pacer
    inbox: Inbox
    certificate: Certificate


@asynccontextmanager
async def open_crowd() -> AsyncIterator[Crowd]:
    """The crowd, with its pacer running."""
    pacer, inbox = Pacer(), Inbox()
    pacing = asyncio.create_task(drive(pacer, inbox), name="pacer")
    try:
        async with aiohttp.ClientSession() as http:
            yield Crowd(http, pacer, inbox, Certificate())
    finally:
        pacing.cancel()
        with suppress(asyncio.CancelledError):
            await pacing
        inbox.close()


class Signalling(Protocol):
    """How one peer gets its offer to a server: WHIP and WHEP, or a server's own API."""

    async def exchange(self, offer: str) -> str:
        """The server's description. Raises whip.Refused or aiohttp.ClientError."""
        ...

    async def end(self) -> None:
        """Ends at the server what was begun there; idempotent. Raises whip.Refused."""
        ...


async def negotiate(
    transport: ClientTransport,
    crowd: Crowd,
    signalling: Signalling,
    write_offer: Callable[[str], str],
) -> sdp.RemoteSide:
    """Opens the socket, hands in the offer and connects.

    Raises whip.Refused, aiohttp.ClientError, sdp.AnswerError or transport.ConnectError.
    """
    await transport.open()
    answer = await signalling.exchange(write_offer(crowd.certificate.fingerprint))
    remote = sdp.read_answer(answer)
    await transport.connect(remote)
    return remote


def adaptation(clip: PacketisedClip) -> Adaptation | None:
    """Between the bitrates that the clip has; None where it has one."""
    if not clip.lower:
        return None
    return Adaptation([encoding.bitrate_bps for encoding in (CAMERA, *LOWER)])


class Candidate:
    """`await join()`, then it sends by itself until `await leave()` or `lost` is set."""

    def __init__(
        self,
        crowd: Crowd,
        where: str | Signalling,
        clip: PacketisedClip,
        network: Network | None = None,
    ) -> None:
        """`where`: a WHIP URL, or another way to the server; `network`: the one before it."""
        self.lost = asyncio.Event()
        self.audio: TrackSender | None = None
        self.video: TrackSender | None = None
        self.screen: TrackSender | None = None  #: None also where the server refused it
        self.layers: list[TrackSender] = []  #: smaller ones of `video`, where the server takes them
        self.max_bitrate_bps: int | None = None  #: what the server last said it takes (REMB)
        self._crowd, self._clip, self._where, self._network = crowd, clip, where, network
        self._signalling = whip.Whip(crowd.http, where) if isinstance(where, str) else where
        self.audio_ssrc, self.video_ssrc = random.getrandbits(32), random.getrandbits(32)
        self.screen_ssrc = None if clip.screen is None else random.getrandbits(32)
        self.rids = RIDS[: 1 + len(clip.layers)] if clip.layers else ()
        # Of repairs, by the SSRC of what they repair; screens are offered theirs with the screen.
        self._rtx_ssrcs = {self.video_ssrc: random.getrandbits(32)}
        if self.screen_ssrc is not None:
            self._rtx_ssrcs[self.screen_ssrc] = random.getrandbits(32)
        self._transport = ClientTransport(
            crowd.certificate,
            lambda packet, arrived_s: None,
            self._receive_rtcp,
            self._lose,
            Emulation(network, crowd.pacer) if network is not None else None,
            crowd.inbox,
        )
        self.adaptation = adaptation(clip)
        self._connected = self._sending = False
        self._round_trip_s = 0.0  # until the first report

    async def join(self) -> None:
        """Connects and begins to send. Raises what `negotiate` does."""
        try:
            remote = await negotiate(self._transport, self._crowd, self._signalling, self._offer)
        except BaseException:
            await self._transport.close()
            raise
        self._connected = True
        before = self.tracks()
        self.audio = self._track(remote.audio, self.audio_ssrc, AUDIO_CLOCK_HZ, sdp.AUDIO_MID)
        self.video = self._track(remote.video, self.video_ssrc, VIDEO_CLOCK_HZ, sdp.VIDEO_MID)
        if self.screen_ssrc is not None:
            screen = remote.screen, self.screen_ssrc, VIDEO_CLOCK_HZ, sdp.SCREEN_MID
            self.screen = self._track(*screen)
        tracks = self.tracks()
        for name in tracks.keys() & before.keys():
            tracks[name].go_on_from(before[name])
        earlier, self.layers = self.layers, self._layers(remote.video)
        for layer, former in zip(self.layers, earlier, strict=False):
            layer.go_on_from(former)
        self._start()

    async def leave(self) -> None:
        """Stops sending and ends the session at the server; idempotent."""
        self._connected = self._sending = False
        await self._transport.close()
        await self._signalling.end()

    def vanish(self) -> "Candidate":
        """Gone without a word, as from a dead network; returns who may join in its place.

        That one sends under the same SSRCs and goes on with the numbers of the frames.
        """
        self._connected = self._sending = False
        self._transport.vanish()
        again = Candidate(self._crowd, self._where, self._clip, self._network)
        again.audio_ssrc, again.video_ssrc = self.audio_ssrc, self.video_ssrc
        again.screen_ssrc, again._rtx_ssrcs = self.screen_ssrc, self._rtx_ssrcs
        again.audio, again.video, again.screen = self.audio, self.video, self.screen
        again.layers = self.layers
        return again

    def pause(self) -> None:
        """Stops sending for good, while the connection stays.

        What nothing follows no receiver can miss: each track's last packet comes through.
        """
        if self._sending:
            for track in self.streams():
                if track.packets:
                    self._transport.send_rtp(track.last_packet, spared=True)
        self._sending = False

    def tracks(self) -> dict[TrackName, TrackSender]:
        """Those that the server took."""
        named: dict[TrackName, TrackSender | None] = {
            "camera": self.video,
            "microphone": self.audio,
            "screen": self.screen,
        }
        return {name: track for name, track in named.items() if track is not None}

    def streams(self) -> list[TrackSender]:
        """All that is sent: the tracks, and the smaller layers of the camera."""
        return [*self.tracks().values(), *self.layers]

    @property
    def datagrams_refused(self) -> int:
        return self._transport.datagrams_refused

    def _offer(self, fingerprint: str) -> str:
        transport = self._transport
        local = sdp.LocalSide(
            transport.ufrag,
            transport.password,
            fingerprint,
            self.audio_ssrc,
            self.video_ssrc,
            self.screen_ssrc,
            self.adaptation is not None,
            # Layers are repaired in themselves: repairs would have to name theirs, too.
            self._rtx_ssrcs[self.video_ssrc] if not self.rids else None,
            self._rtx_ssrcs[self.screen_ssrc] if self.screen_ssrc is not None else None,
            self.rids,
        )
        return sdp.write_offer(local, [self._clip.clip.codec], "sendonly")

    def _track(
        self,
        accepted: sdp.AcceptedTrack | None,
        ssrc: int,
        clock_rate: int,
        mid: str,
        layer: tuple[str, int] = ("", 0),
    ) -> TrackSender | None:
        if accepted is None:
            return None
        codec = "opus" if mid == sdp.AUDIO_MID else self._clip.clip.codec
        describe = DESCRIPTORS.get(codec, no_descriptor)
        # A number that its packets do not carry would be missed by who counts them.
        counted = self.adaptation if accepted.extensions.transport_cc is not None else None
        # RFC 3550 5.1: sequence numbers start at random.
        seqno = random.getrandbits(16)
        return TrackSender(
            ssrc,
            accepted.payload_type,
            clock_rate,
            mid,
            accepted.extensions,
            describe,
            counted.number if counted is not None else None,
            seqno,
            self._repairs(accepted, ssrc),
            accepted.red,
            layer[0],
            layer[1],
            self.video_ssrc if layer[1] else None,
        )

    def _repairs(self, accepted: sdp.AcceptedTrack, ssrc: int) -> Repairs | None:
        if accepted.rtx is None:
            return None
        return Repairs(self._rtx_ssrcs[ssrc], accepted.rtx, random.getrandbits(16))

    def _layers(self, accepted: sdp.AcceptedTrack | None) -> list[TrackSender]:
        """The camera's smaller ones, whose frames have its numbers."""
        if self.video is None or accepted is None or accepted.extensions.rid is None:
            return []
        self.video.rid = self.rids[0]
        layers = []
        for place, rid in enumerate(self.rids[1:], 1):
            track = self._track(
                accepted, random.getrandbits(32), VIDEO_CLOCK_HZ, sdp.VIDEO_MID, (rid, place)
            )
            assert track is not None
            layers.append(track)
        return layers

    def _lose(self) -> None:
        self._sending = False
        self.lost.set()

    # ---- sending ------------------------------------------------------------------------

    def _start(self) -> None:
        pacer = self._crowd.pacer
        self._sending = True
        self._playback = Playback(self._clip)
        self._screen_playback = Playback(self._clip.screen) if self._clip.screen else None
        self._started = asyncio.get_running_loop().time()
        self._base_timestamp = random.getrandbits(31)
        self._next_video = self._next_audio = self._next_screen = 0
        if self.video is not None:
            pacer.at(self._started, self._send_video)
        if self.audio is not None:
            pacer.at(self._started, self._send_audio)
        if self.screen is not None:
            pacer.at(self._started, self._send_screen)
        pacer.at(self._started, self._send_reports)

    def _send_video(self, due: float, now: float) -> None:
        if not self._sending or self.video is None:
            return
        timestamp = self._base_timestamp + self._next_video * (VIDEO_CLOCK_HZ // FPS)
        self._send_picture(self.video, self._playback.next_video(), timestamp, due)
        for layer, frame in zip(self.layers, self._playback.in_layers(), strict=False):
            self._send_picture(layer, frame, timestamp, due)
        self._next_video += 1
        self._crowd.pacer.at(self._started + self._next_video / FPS, self._send_video)

    def _send_screen(self, due: float, now: float) -> None:
        if not self._sending or self.screen is None or self._screen_playback is None:
            return
        timestamp = self._base_timestamp + self._next_screen * (VIDEO_CLOCK_HZ // SCREEN.fps)
        self._send_picture(self.screen, self._screen_playback.next_video(), timestamp, due)
        self._next_screen += 1
        self._crowd.pacer.at(self._started + self._next_screen / SCREEN.fps, self._send_screen)

    def _send_picture(self, track: TrackSender, frame: Frame, timestamp: int, due: float) -> None:
        sending = track.begin_frame(frame, timestamp)
        self._send_burst(sending, max(BURST_PACKETS, -(-len(frame) // BURSTS)), due)

    def _send_burst(self, sending: Sending, limit: int, due: float) -> None:
        first = not sending.track.packets  # no receiver can miss what was before the first one
        packets = sending.burst(limit, time.time())
        for packet in packets:
            self._transport.send_rtp(packet, spared=first)
        # A frame that was begun is sent to its end, also when `pause` came in between.
        if len(packets) == limit and self._connected and not self.lost.is_set():
            self._crowd.pacer.at(
                due + BURST_INTERVAL_S, lambda due, now: self._send_burst(sending, limit, due)
            )

    def _send_audio(self, due: float, now: float) -> None:
        if not self._sending or self.audio is None:
            return
        per_packet = AUDIO_CLOCK_HZ // AUDIO_PACKETS_PER_S
        timestamp = self._base_timestamp + self._next_audio * per_packet
        frame = self._playback.next_audio()
        if frame:  # else a pause
            first = not self.audio.packets
            for packet in self.audio.begin_frame(frame, timestamp).burst(1, time.time()):
                self._transport.send_rtp(packet, spared=first)
        self._next_audio += 1
        self._crowd.pacer.at(
            self._started + self._next_audio / AUDIO_PACKETS_PER_S, self._send_audio
        )

    def _send_reports(self, due: float, now: float) -> None:
        if not self._sending:
            return
        unix_s = time.time()
        for track in self.streams():
            elapsed = int((now - self._started) * track.clock_rate)
            timestamp = (self._base_timestamp + elapsed) & 0xFFFFFFFF
            self._transport.send_rtcp(track.report(unix_s, timestamp))
        self._crowd.pacer.at(due + REPORT_INTERVAL_S, self._send_reports)

    def _receive_rtcp(self, packet: bytes, arrived_s: float) -> None:
        try:
            items = rtcp.parse(packet)
        except ValueError:
            return
        for item in items:
            match item:
                case rtcp.Nack():
                    self._retransmit(item)
                case rtcp.ReceiverReport():
                    self._measure_round_trip(item)
                case rtcp.KeyframeRequest() if self._sending:
                    self._request_keyframe(item.media_ssrc)
                case rtcp.ReceiverReferenceTime():
                    # Answered at once, so that the delay to be told is none.
                    answer = rtcp.DelaySinceLastRr(item.ssrc, rtcp.ntp_middle(item.ntp), 0)
                    self._transport.send_rtcp(rtcp.delay_since_last_rr(self.video_ssrc, answer))
                case rtcp.MaxBitrate():
                    self.max_bitrate_bps = item.bitrate_bps
        if self.adaptation is not None and self._sending:
            self._adapt(self.adaptation, items)

    def _measure_round_trip(self, report: rtcp.ReceiverReport) -> None:
        ntp = rtcp.ntp_from_unix(time.time())
        for block in report.blocks:
            measured = rtcp.round_trip_s(ntp, block.last_sr, block.delay_since_last_sr)
            self._round_trip_s = self._round_trip_s if measured is None else measured

    def _adapt(self, adaptation: Adaptation, items: list[rtcp.Item]) -> None:
        now = time.time()
        adaptation.beside_bps = self._sound_bps()
        for item in items:
            match item:
                case rtcp.MaxBitrate():
                    adaptation.max_bitrate(item.bitrate_bps, now)
                case TransportFeedback():
                    adaptation.feedback(item, now)
        self._playback.wanted = adaptation.level

    def _sound_bps(self) -> float:
        """On the wire."""
        sound = self.audio
        if sound is None or not sound.packets:
            return 0.0
        return 8 * AUDIO_PACKETS_PER_S * (sound.octets / sound.packets + HEADERS_SIZE)

    def _request_keyframe(self, ssrc: int) -> None:
        """Of the screen where it is meant, else of the camera."""
        shared = self._screen_playback if ssrc == self.screen_ssrc else None
        (shared or self._playback).request_keyframe(asyncio.get_running_loop().time())

    def _retransmit(self, nack: rtcp.Nack) -> None:
        for track in self.streams():
            if track.ssrc == nack.media_ssrc:
                for packet in track.retransmissions(nack.seqnos, time.time(), self._round_trip_s):
                    self._transport.send_rtp(packet)
