"""A server that takes every section it is offered and passes packets on as they came.

What ours does not take yet, a shared screen, comes through it whole; the transport is the real one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from server.core import rtcp
from server.core.frames import Codec
from server.media.negotiation import FORWARDED, choose_formats
from server.media.peer import Peer, PeerState
from server.media.sdp.answer import AnswerSection
from server.media.sdp.formats import RtpFormat
from server.media.sdp.offer import MediaSection, Offer, parse_offer
from server.media.server import MediaServer, Source


class _Passing(Peer):
    """One side of one interview; `others` are all peers of that interview."""

    def __init__(
        self,
        others: "list[_Passing]",
        media: MediaServer,
        offer: Offer,
        source: Source,
    ) -> None:
        super().__init__(
            media._router,
            media._certificate,
            offer.transport,
            lambda state: None,
            media.clock,
            source,
        )
        self._others = others
        self.observes = offer.sections[0].direction == "recvonly"
        others.append(self)

    def _rtp(self, packet: bytes, now: float) -> None:
        for other in self._others:
            if other.observes:
                other._send_rtp(packet, b"")

    def _rtcp(self, items: Sequence[rtcp.Item], now: float) -> None:
        for item in items:
            match item:
                case rtcp.SenderReport():
                    self._pass_on(rtcp.sender_report(item))
                case rtcp.Nack():
                    self._pass_on(rtcp.nack(self.ssrc, item.media_ssrc, item.seqnos))
                case rtcp.KeyframeRequest():
                    self._pass_on(rtcp.picture_loss_indication(self.ssrc, item.media_ssrc))
                case _:
                    pass

    def _pass_on(self, packet: bytes) -> None:
        for other in self._others:
            if other.observes is not self.observes:
                other._send_rtcp(packet)

    def send_feedback(self, packet: bytes) -> None:
        """Of the test's own making."""
        self._send_rtcp(packet)

    def _report(self, now: float) -> None:
        pass

    def _detach(self) -> None:
        if self in self._others:
            self._others.remove(self)


class PassingMedia:
    """Stands in for the media of a `MiniServer`."""

    def __init__(self, media: MediaServer) -> None:
        self._media = media
        self._peers: dict[str, list[_Passing]] = {}

    async def publish(
        self, source: Source, offer_sdp: str, on_state: Callable[[PeerState], None]
    ) -> tuple[Peer, str]:
        return self._open(source, offer_sdp, "recvonly")

    async def observe(
        self, source: Source, offer_sdp: str, on_state: Callable[[PeerState], None]
    ) -> tuple[Peer, str]:
        return self._open(source, offer_sdp, "sendonly")

    def candidates(self) -> list[_Passing]:
        return [peer for peers in self._peers.values() for peer in peers if not peer.observes]

    def _open(self, source: Source, offer_sdp: str, direction: str) -> tuple[Peer, str]:
        offer = parse_offer(offer_sdp)
        every = [codec for codecs in FORWARDED.values() for codec in codecs]
        answers = {
            index: AnswerSection(section, tuple(_plain(section, every)), direction)
            for index, section in enumerate(offer.sections)
        }
        peers = self._peers.setdefault(source.interview_id, [])
        return self._media._open(_Passing(peers, self._media, offer, source), offer, answers)


def _plain(section: MediaSection, every: Sequence[Codec]) -> Iterator[RtpFormat]:
    """Formats without what an observer would not take as it came: repairs apart, sound twice."""
    for each in choose_formats(section, every, every=True):
        yield replace(each, rtx=None, red=None)
