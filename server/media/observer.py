"""A watcher's connection: down tracks of the source."""

import logging
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from server.core import rtcp
from server.core.frames import OF_INTERVIEWER, TrackName
from server.core.rtp import pack_header
from server.core.twcc import TransportFeedback
from server.media.forwarding.allotment import Allotment, Change, Meter, ProbePlan
from server.media.forwarding.copies import Doubling
from server.media.forwarding.down_track import DownTrack, RepairStream
from server.media.forwarding.egress import Egress
from server.media.peer import CONSENT_TIMEOUT_S, Peer, PeerState
from server.media.sdp.formats import RtpFormat, payload_types
from server.media.sdp.offer import MediaSection
from server.media.source import Source
from server.media.transport.dtls import Certificate
from server.media.transport.router import Router

log = logging.getLogger(__name__)

#: How often it is seen to what the network has room for.
ALLOT_INTERVAL_S = 0.25
#: and at once where it has so much less than then: what is sent meanwhile is lost.
FALLEN = 0.9
#: So many times what is wanted is as good as no limit.
AMPLE = 2.0
#: Feedback that may wait for the timers: browsers send at most twenty a second.
MAX_TOLD = 16
#: The screen first: what is on it can't be told in words, and a face is not needed to hear.
PICTURES = (TrackName.SCREEN, TrackName.CAMERA, TrackName.INTERVIEWER_CAMERA)


def _nobody(_: bool) -> None: ...


def _none_waits(_: int) -> None: ...


class Outgoing(NamedTuple):
    """How an observer takes one track: formats, the best first, and what counts packets."""

    formats: Sequence[RtpFormat]
    transport_cc: int | None = None  #: its header extension's number, the same for all tracks

    @property
    def is_repaired_apart(self) -> bool:
        """Whether each format has another for its repairs."""
        return all(each.rtx is not None for each in self.formats)


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
        outgoing: Mapping[TrackName, Outgoing],
        on_held_back: Callable[[bool], None] = _nobody,
    ) -> None:
        """`on_held_back`: a picture is, or none is any more, as the network is too slow for it."""
        super().__init__(router, certificate, remote, on_state, clock, source)
        self._on_held_back = on_held_back
        self._round_trip_s: float | None = None
        counting = [each.transport_cc for each in outgoing.values() if each.transport_cc]
        self.egress: Egress | None = None
        if counting:
            self.egress = Egress(
                counting[0], self._send_rtp, self._drain_in, self._begin_anew, clock()
            )
        self.downs = {name: self._down_track(each) for name, each in outgoing.items()}
        self._told: list[bytes] = []  # feedback that waits
        self._by_ssrc = {down.ssrc: down for down in self.downs.values()}
        self._meters = {name: Meter() for name in self.downs}
        self._allotments = {name: Allotment() for name in PICTURES if name in self.downs}
        self._probes = ProbePlan()
        self._doubling = Doubling()
        self._allotted_s = clock()
        self._allotted_bps = 0.0  # of it all, then
        for name in self.downs:
            source.expect_down(name)
        if self.egress is not None:
            for voice in (down for name, down in self.downs.items() if name.is_sound):
                self.egress.never_waits(voice.ssrc)

    def _down_track(self, outgoing: Outgoing) -> DownTrack:
        counted = self.egress is not None and outgoing.transport_cc is not None
        repairs = None
        if outgoing.is_repaired_apart or counted:
            rtx = {each.payload_type: each.rtx for each in outgoing.formats if each.rtx is not None}
            repairs = RepairStream(secrets.randbits(32), rtx)
        return DownTrack(
            secrets.randbits(32),
            payload_types(outgoing.formats),
            self.egress.send if self.egress is not None and counted else self._send_plain,
            repairs,
            self.egress.drop if self.egress is not None else _none_waits,
        )

    def _send_plain(
        self,
        first: int,
        second: int,
        seqno: int,
        timestamp: int,
        ssrc: int,
        payload: bytes,
        now: float,
    ) -> None:
        if self.egress is not None:
            self.egress.makes_way(len(payload), now)
        self._send_rtp(pack_header(first, second, seqno, timestamp, ssrc), payload)

    def _set_state(self, state: PeerState) -> None:
        joined = self.state is PeerState.NEW and state is PeerState.CONNECTED
        super()._set_state(state)
        if joined:
            for name, down in self.downs.items():
                self.source.add_down(name, down, self._clock())

    def _rtcp_received(self, data: bytes) -> None:
        egress = self.egress
        # While the network takes far more than is sent, what it takes is seen to with the timers.
        plenty = egress is not None and not egress.is_pacing and not self._is_held_back
        if plenty and len(self._told) < MAX_TOLD and rtcp.is_transport_feedback(data):
            self._told.append(data)
        else:
            super()._rtcp_received(data)

    def _rtcp(self, items: Sequence[rtcp.Item], now: float) -> None:
        for item in items:
            match item:
                case rtcp.Nack() if item.media_ssrc in self._by_ssrc:
                    down = self._by_ssrc[item.media_ssrc]
                    self._resend(down, item.seqnos, now)
                case TransportFeedback() if self.egress is not None:
                    self.egress.feedback_received(item, now, self._round_trip_s)
                    fallen = self.egress.estimate.bitrate_bps < FALLEN * self._allotted_bps
                    if fallen or now - self._allotted_s >= ALLOT_INTERVAL_S:
                        self._allot(self.egress, now)
                case rtcp.ReceiverReport() | rtcp.SenderReport():
                    self._measure_round_trip(item.blocks, now)
                case rtcp.KeyframeRequest() if item.media_ssrc in self._by_ssrc:
                    self._by_ssrc[item.media_ssrc].request_keyframe(now)
                case _:
                    pass

    def _resend(self, down: DownTrack, seqnos: Sequence[int], now: float) -> None:
        egress, doubled = self.egress, self._doubling.through is not None
        twice = doubled or (egress is not None and not egress.is_pacing)
        spare = egress.spare_octets(now) if egress is not None else math.inf
        down.resend(seqnos, now, self._round_trip_s, twice=twice, most_octets=spare)
        if twice:
            self._hurry()

    def _measure_round_trip(self, blocks: Sequence[rtcp.ReportBlock], now: float) -> None:
        for block in blocks:
            ntp = rtcp.ntp_from_unix(now)
            measured = rtcp.round_trip_s(ntp, block.last_sr, block.delay_since_last_sr)
            if measured is not None and measured < CONSENT_TIMEOUT_S:
                self._round_trip_s = measured

    def _report(self, now: float) -> None:
        for down in self.downs.values():
            report = down.report(now)
            if report is not None:
                description = rtcp.source_description(down.ssrc, self.id)
                self._send_rtcp(rtcp.sender_report(report) + description)

    # ---- what the network has room for

    def _drain_in(self, delay_s: float) -> None:
        self._call_later(delay_s, self._drain)

    def _drain(self) -> None:
        if self.egress is not None and self.state is not PeerState.CLOSED:
            self.egress.drain(self._clock())

    def _begin_anew(self, ssrc: int) -> None:
        """A picture that lacks some of its packets is worth nothing, nor is what refers to it."""
        for down in self.downs.values():
            if down.ssrc == ssrc:
                down.begin_anew()

    def _allot(self, egress: Egress, now: float) -> None:
        """Sees to it that what is sent fits, and that it is known what would."""
        elapsed_s, self._allotted_s = now - self._allotted_s, now
        for name, down in self.downs.items():
            self._meters[name].read(*down.offered, elapsed_s)
        wanted_bps = sum(
            max(self._meters[name].bitrate_bps, down.most_bps) for name, down in self.downs.items()
        )
        estimated_bps = self._allotted_bps = egress.estimate.bitrate_bps
        held_back = self._is_held_back
        self._share(egress, estimated_bps > AMPLE * wanted_bps, elapsed_s, now)
        if self._is_held_back is not held_back:
            verb = "regains" if held_back else "loses"
            log.info("peer %s %s a picture at %.0f kbit/s", self.id, verb, estimated_bps / 1000)
            self._on_held_back(not held_back)
        self._seek(egress, wanted_bps, now)
        doubled = self._doubling.look(wanted_bps, egress.estimate, now)
        for name in self._allotments:
            self.downs[name].double(doubled)
        if doubled is not None:
            self._hurry()

    def _seek(self, egress: Egress, wanted_bps: float, now: float) -> None:
        """Whether there is room for more than the estimate says, while more is wanted."""
        result = egress.take_probed()
        if result is not None:
            self._probes.told(result, now)
        if not all(each.shown for each in self._allotments.values()):
            # A machine that stands still looks like a queue, beside which sound alone is nothing.
            egress.estimate.probed(self._probes.proven_bps(now))
        if egress.estimate.losing:
            return  # a full queue takes nothing that is sent for a trial
        probed_bps = self._probes.look(wanted_bps, egress.estimate.bitrate_bps, now)
        if probed_bps is not None:
            egress.probe(probed_bps, now)
            self._hurry()

    def _share(self, egress: Egress, ample: bool, elapsed_s: float, now: float) -> None:
        """Sound always; of the pictures, the screen first, what there is room for.

        Where it is `ample` nothing needs to be chosen.
        """
        sound_bps = sum(
            each.bitrate_bps for name, each in self._meters.items() if name not in self._allotments
        )
        estimate = egress.estimate
        left_bps = max(0.0, estimate.bitrate_bps - sound_bps)
        for name, allotment in self._allotments.items():
            down, offered_bps = self.downs[name], self._meters[name].bitrate_bps
            down.allow(math.inf if ample else left_bps)
            needed_bps, losing = down.least_bps or offered_bps, estimate.losing
            match allotment.look(needed_bps, left_bps, elapsed_s, now, losing=losing):
                case Change.HOLD_BACK:
                    down.hold_back()
                case Change.SHOW:
                    down.show()
            if allotment.shown:
                left_bps = max(0.0, left_bps - offered_bps)

    @property
    def _is_held_back(self) -> bool:
        # The interviewer's picture is small beside the candidate's: it is done without in silence.
        told = (each for name, each in self._allotments.items() if name not in OF_INTERVIEWER)
        return not all(each.shown for each in told)

    def _repair(self, now: float) -> bool:
        told, self._told = self._told, []
        for data in told:
            super()._rtcp_received(data)
        copying, egress = False, self.egress
        for down in self.downs.values():
            copying |= down.send_copies(now, sending=egress is None or not egress.waits)
        if egress is None:
            return copying
        egress.pad(lambda octets: self._pad(octets, now), now)
        return copying or egress.is_probing

    def _pad(self, octets: int, now: float) -> None:
        for name in self._allotments:
            self.downs[name].pad(octets, now)
            return

    def _streams_counted(self) -> Iterable[Counter[str]]:
        yield from (down.counted() for down in self.downs.values())
        if self.egress is not None:
            yield Counter(packets_without_room=self.egress.packets_dropped)

    def _detach(self) -> None:
        if self._is_held_back:
            self._on_held_back(False)
        for name, down in self.downs.items():
            self.source.remove_down(name, down)
        self._counted_before = self.counted()
        self.downs.clear()
        self._by_ssrc.clear()
        self.egress, self._on_held_back = None, _nobody
