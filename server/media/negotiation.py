"""What is agreed on of an offer: which section is for which track, in which formats."""

from collections.abc import Mapping, Sequence

from server.core.frames import OF_INTERVIEWER, VIDEO_CODECS, Codec, TrackName
from server.media.errors import NoCommonCodec, PartialAnswer
from server.media.observer import Observer, Outgoing
from server.media.publisher import Incoming
from server.media.sdp.answer import AnswerSection
from server.media.sdp.formats import RtpFormat
from server.media.sdp.offer import MediaSection, Offer, transport_cc

_KINDS = ("audio", "video")
SENDS = ("sendrecv", "sendonly")
RECEIVES = ("sendrecv", "recvonly")
#: H.264 profiles in the order we like them: constrained baseline plays everywhere
#: (RFC 6184 8.1, profile-level-id without its level).
_H264_PROFILES = ("42e0", "4200", "4d00", "6400", "640c")


def codecs_by_track(video: Sequence[Codec]) -> dict[TrackName, Sequence[Codec]]:
    return {name: (Codec.OPUS,) if name.is_sound else video for name in TrackName}


#: Of an observer all is taken that a candidate may come with, under whatever settings.
FORWARDED = codecs_by_track(VIDEO_CODECS)


def negotiate(
    offer: Offer,
    tracks: Sequence[TrackName],
    directions: Sequence[str],
    codecs: Mapping[TrackName, Sequence[Codec]],
    *,
    every: bool,
) -> dict[int, tuple[TrackName, list[RtpFormat]]]:
    """Section index -> track and formats: a section is for a track by its place in the offer.

    Sections that can't be used keep their place. Raises `NoCommonCodec` when none can be.
    """
    chosen: dict[int, tuple[TrackName, list[RtpFormat]]] = {}
    names = {
        kind: iter([name for name in tracks if name.is_sound is (kind == "audio")])
        for kind in _KINDS
    }
    for index, section in enumerate(offer.sections):
        name = next(names.get(section.kind, iter(())), None)
        usable = offer.usable(section) and section.direction in directions
        if name is None or not usable:
            continue
        formats = choose_formats(section, codecs[name], every=every)
        if formats:
            chosen[index] = (name, formats)
    if not chosen:
        raise NoCommonCodec(
            "the offer has nothing this server can use: it takes "
            f"{' or '.join(codecs[TrackName.CAMERA])} video and Opus audio, with rtcp-mux, "
            f"in a section that is {' or '.join(directions)}"
        )
    return chosen


def choose_formats(
    section: MediaSection, preference: Sequence[Codec], *, every: bool
) -> list[RtpFormat]:
    """The section's formats that we serve, best first: one to receive, or `every` to send by.

    What is sent on may have NAL units in fragments, which mode 0 of H.264 forbids (RFC 6184 6.2).
    """
    chosen: list[RtpFormat] = []
    for codec in preference:
        candidates = [each for each in section.formats.values() if each.codec is codec]
        if codec is Codec.H264:
            candidates.sort(key=_h264_rank)
            if every:
                candidates = [each for each in candidates if each.packetization_mode == 1]
        chosen += candidates
    return chosen if every else chosen[:1]


def _h264_rank(rtp_format: RtpFormat) -> tuple[bool, int]:
    liked = {profile: rank for rank, profile in enumerate(_H264_PROFILES)}
    return rtp_format.packetization_mode != 1, liked.get(rtp_format.profile, len(liked))


def incoming(section: MediaSection, rtp_format: RtpFormat) -> Incoming:
    rids = tuple(rid.name for rid in section.layers(rtp_format.payload_type))
    return Incoming(section, rtp_format, rids)


def outgoing(
    offer: Offer, sections: Mapping[int, tuple[TrackName, list[RtpFormat]]]
) -> dict[TrackName, Outgoing]:
    """How each track is sent. What counts packets counts those of all sections, by one number.

    It can't where a packet may have to be sent again as it was: see `DownTrack`.
    """
    numbers = {
        index: transport_cc(offer.sections[index], formats)
        for index, (_, formats) in sections.items()
        if all(each.rtx is not None or "nack" not in each.feedback for each in formats)
    }
    number = next(filter(None, numbers.values()), None)
    return {
        name: Outgoing(formats, number if numbers.get(index) == number else None)
        for index, (name, formats) in sections.items()
    }


def answer_to_observer(
    observer: Observer, name: TrackName, offered: MediaSection, outgoing: Outgoing
) -> AnswerSection:
    down = observer.downs[name]
    return AnswerSection(
        offered,
        tuple(outgoing.formats),
        "sendonly",
        down.ssrc,
        observer.id,
        _stream(observer.id, name),
        transport_cc_extension=outgoing.transport_cc,
        rtx_ssrc=down.repairs.ssrc if down.repairs is not None else None,
    )


def refuse_partial(offer: Offer, taken: set[int]) -> None:
    for index, section in enumerate(offer.sections):
        if section.kind in _KINDS and section.is_open and index not in taken:
            raise PartialAnswer(
                f"section {section.mid} ({section.kind}) can't be taken: this server takes one "
                "audio and two video sections that send, with a codec it knows, or refuses all"
            )


def _stream(peer_id: str, name: TrackName) -> str:
    """What is played together: one person's picture and voice; a screen has a time of its own."""
    if name is TrackName.SCREEN:
        return f"{peer_id}-screen"
    return f"{peer_id}-interviewer" if name in OF_INTERVIEWER else peer_id
