"""A watcher's connection: down tracks of the source."""

import secrets
from collections.abc import Callable, Mapping, Sequence

from server.core import rtcp
from server.core.frames import TrackName
from server.media.down_track import DownTrack
from server.media.dtls import Certificate
from server.media.peer import Peer, PeerState
from server.media.router import Router
from server.media.sdp import MediaSection, RtpFormat, payload_types
from server.media.source import Source


class Observer(Peer):
    """A watcher's connection: down tracks of the source; nothing it sends is media."""

    def __init__(
        self,
        router: Router,
        certificate: Certificate,
        remote: MediaSection,
        on_state: Callable[[PeerState], None],
        clock: Callable[[], float],
        source: Source,
        formats: Mapping[TrackName, Sequence[RtpFormat]],
    ) -> None:
        super().__init__(router, certificate, remote, on_state, clock, source)
        self.downs = {
            name: DownTrack(secrets.randbits(32), payload_types(each), self._send_rtp)
            for name, each in formats.items()
        }
        self._by_ssrc = {down.ssrc: (name, down) for name, down in self.downs.items()}

    def _set_state(self, state: PeerState) -> None:
        joined = self.state is PeerState.NEW and state is PeerState.CONNECTED
        super()._set_state(state)
        if joined:
            for name, down in self.downs.items():
                self.source.add_down(name, down)

    def _rtcp(self, items: Sequence[rtcp.Item], now: float) -> None:
        for item in items:
            match item:
                case rtcp.Nack() if item.media_ssrc in self._by_ssrc:
                    self._by_ssrc[item.media_ssrc][1].resend(item.seqnos)
                case rtcp.KeyframeRequest() if item.media_ssrc in self._by_ssrc:
                    self.source.request_keyframe(self._by_ssrc[item.media_ssrc][0])
                case _:
                    pass

    def _report(self, now: float) -> None:
        for down in self.downs.values():
            report = down.report(now)
            if report is not None:
                description = rtcp.source_description(down.ssrc, self.id)
                self._send_rtcp(rtcp.sender_report(report) + description)

    def _detach(self) -> None:
        for name, down in self.downs.items():
            self.source.remove_down(name, down)
        self.downs.clear()
        self._by_ssrc.clear()
